// Wires the command line to the process: its environment, its streams, its random numbers.
#include <openssl/rand.h>

#include <array>
#include <cstdint>
#include <iostream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "config/environment.hpp"
#include "daemon/app.hpp"
#include "daemon/cli.hpp"
#include "daemon/password_prompt.hpp"
#include "protocol/scram.hpp"

namespace {

std::string make_verifier(std::string_view password) {
    constexpr unsigned iterations = 4096;  // PostgreSQL's own
    std::array<std::uint8_t, 16> salt{};
    if (RAND_bytes(salt.data(), static_cast<int>(salt.size())) != 1) {
        throw std::runtime_error("no random numbers");
    }
    return sluice::protocol::make_verifier(password, salt, iterations);
}

}  // namespace

int main(int argc, char** argv) {
    using namespace sluice;
    return daemon::run_command_line({argv + (argc > 0 ? 1 : 0), argv + argc},
                                    {.env = config::process_environment(),
                                     .out = std::cout,
                                     .err = std::cerr,
                                     .serve = daemon::run,
                                     .read_password = daemon::read_password,
                                     .make_verifier = make_verifier});
}
