#include "config/suggest.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include <vector>

namespace sluice::config {

namespace {

// Insertions, deletions and replacements that turn one word into the other.
std::size_t distance(std::string_view one, std::string_view other) {
    std::vector<std::size_t> row(other.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < one.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < other.size(); ++j) {
            const std::size_t replaced = diagonal + (one[i] == other[j] ? 0 : 1);
            diagonal = row[j + 1];
            row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
    }
    return row.back();
}

}  // namespace

std::string_view nearest(std::string_view word, std::span<const std::string_view> candidates) {
    constexpr std::size_t longest = 64;  // no key is nearly as long
    constexpr std::size_t shortest_part = 3;
    if (word.size() > longest) return {};
    for (const auto candidate : candidates) {
        if (word.size() >= shortest_part && candidate.starts_with(word)) return candidate;
    }
    std::string_view best;
    std::size_t best_distance = std::max<std::size_t>(1, word.size() / 3) + 1;
    for (const auto candidate : candidates) {
        const auto apart = distance(word, candidate);
        if (apart < best_distance) {
            best = candidate;
            best_distance = apart;
        }
    }
    return best;
}

std::string_view renamed_setting(std::string_view their_name) noexcept {
    using renamed = std::pair<std::string_view, std::string_view>;
    constexpr std::array names{
        renamed{"appendfsync", "kv.fsync"},
        renamed{"auth_file", "postgres.users"},
        renamed{"client_tls_ca_file", "postgres.tls.client_ca"},
        renamed{"client_tls_cert_file", "postgres.tls.certificate"},
        renamed{"client_tls_key_file", "postgres.tls.key"},
        renamed{"client_tls_sslmode", "postgres.tls.mode"},
        renamed{"default_pool_size", "postgres.pool_size"},
        renamed{"dir", "kv.directory"},
        renamed{"listen_addr", "postgres.listen"},
        renamed{"listen_port", "postgres.listen"},
        renamed{"maxmemory", "kv.max_memory"},
        renamed{"rename-command", "kv.disabled_commands"},
        renamed{"requirepass", "kv.users"},
        renamed{"server_tls_sslmode", "sslmode in a database's url"},
        renamed{"tls-ca-cert-file", "kv.tls.client_ca"},
        renamed{"tls-cert-file", "kv.tls.certificate"},
        renamed{"tls-key-file", "kv.tls.key"},
        renamed{"unix_socket_dir", "postgres.listen"},
    };
    for (const auto& [theirs, ours] : names) {
        if (theirs == their_name) return ours;
    }
    return {};
}

}  // namespace sluice::config
