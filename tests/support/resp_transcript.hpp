// What a resp_parser makes of an input that arrives cut at given places. Every piece is given in a
// fresh block of exactly its size, so that AddressSanitizer sees a view that was kept or a byte
// that is read too far.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/resp.hpp"

namespace sluice::tests {

struct resp_transcript {
    std::vector<std::vector<std::string>> commands;
    std::string error;
    std::size_t left = 0;  // bytes that were not consumed
    bool honest = true;    // consumed() and wanted() kept what they promise

    bool operator==(const resp_transcript&) const = default;
};

class resp_feeder {
  public:
    explicit resp_feeder(protocol::resp_limits limits = {}) : limits_(limits) {}

    // The bytes from the last consumed one to `end` of `input`; false when the parser broke.
    bool feed(std::string_view input, std::size_t end) {
        using outcome = protocol::resp_parser::outcome;
        for (;;) {
            const auto size = end - begin_;
            const auto block = std::make_unique<std::uint8_t[]>(size);
            if (size != 0) std::memcpy(block.get(), input.data() + begin_, size);
            const auto result = parser_.next({block.get(), size}, limits_);
            begin_ += parser_.consumed();
            transcript_.left = end - begin_;
            const bool early = result != outcome::incomplete && size < wanted_;
            const bool has_args = !parser_.args().empty();
            if (parser_.consumed() > size || early || has_args != (result == outcome::command))
                transcript_.honest = false;
            wanted_ = parser_.wanted();
            if (result == outcome::broken) {
                transcript_.error = parser_.error();
                return false;
            }
            if (result == outcome::incomplete) {
                if (wanted_ != 0 && wanted_ <= transcript_.left) transcript_.honest = false;
                return true;
            }
            if (parser_.consumed() == 0 || wanted_ != 0) transcript_.honest = false;
            transcript_.commands.emplace_back(parser_.args().begin(), parser_.args().end());
        }
    }

    [[nodiscard]] const resp_transcript& transcript() const { return transcript_; }

  private:
    protocol::resp_parser parser_;
    protocol::resp_limits limits_;
    resp_transcript transcript_;
    std::size_t begin_ = 0;
    std::size_t wanted_ = 0;
};

// `cuts` ascend; the end of the input is one more.
inline resp_transcript read_resp(std::string_view input, const std::vector<std::size_t>& cuts,
                                 protocol::resp_limits limits = {}) {
    resp_feeder feeder{limits};
    for (const auto cut : cuts) {
        if (!feeder.feed(input, cut)) break;
    }
    feeder.feed(input, input.size());
    auto transcript = feeder.transcript();
    // How much of a broken input was there when it was seen to be broken is chance.
    if (!transcript.error.empty()) transcript.left = 0;
    return transcript;
}

}  // namespace sluice::tests
