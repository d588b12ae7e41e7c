// Runs a client's script directly against a model backend and through links, in every way that it
// can be cut, and compares: what the client receives and what is committed must be the same.
#pragma once

#include <string>
#include <vector>

#include "support/mini_postgres.hpp"
#include "support/pg_messages.hpp"
#include "support/pooled_world.hpp"

namespace sluice::test {

using script = std::vector<std::string>;  // one message each

struct script_options {
    mini_postgres::setting_list startup = {};
    std::uint32_t max_statements = 200;
    // Whether ParameterStatus messages must come at the same places too.
    bool same_parameters = true;
    // Whether an error may be put in front of each message (not within a COPY).
    bool errors_anywhere = true;
    // ... and what follows it may be sent before its answer has come.
    bool errors_pipelined = true;
    // Run by another client on the same server connection first.
    script before = {};
};

struct script_result {
    std::string got;
    std::vector<std::string> committed;
};

[[nodiscard]] std::string joined(const script& messages);
[[nodiscard]] std::string without_parameters(const std::string& got);
[[nodiscard]] script_result run_directly(const std::string& bytes,
                                         const script_options& options = {});
[[nodiscard]] script_result run_pooled(const script& messages, const script_options& options = {});

// All of the below.
void check_script(const script& messages, const script_options& options = {});

void check_cut_client(const script& messages, const script_options& options);
void check_cut_server(const script& messages, const script_options& options);
void check_client_leaves(const script& messages, const script_options& options);
void check_server_ends(const script& messages, const script_options& options);
void check_errors(const script& messages, const script_options& options);

}  // namespace sluice::test
