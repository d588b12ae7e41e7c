// Prepared statements that travel. A client's statement is known by its text, its parameter types
// and the settings it was parsed under; every client that prepares the same shares one `statement`,
// and a server connection holds it under one name of ours. Sharing across settings would be wrong:
// '1/2/2000'::date is resolved when it is parsed, under the DateStyle of that moment.
#pragma once

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "pool/parameters.hpp"

namespace sluice::pool {

struct statement {
    std::uint64_t id = 0;
    std::string server_name;  // "sluice_<id>"
    std::string query;
    std::string types;        // the Parse message's count and type OIDs, as on the wire
    parameters parsed_under;  // settings, without application_name
};

using statement_ptr = std::shared_ptr<const statement>;

// All statements that some client or server connection holds. Shared by the workers, with a lock;
// asked once for each Parse of a named statement.
class statement_table {
  public:
    [[nodiscard]] statement_ptr find_or_add(std::string_view query, std::string_view types,
                                            const parameters& parsed_under);
    [[nodiscard]] std::size_t size() const;

  private:
    mutable std::mutex mutex_;
    std::unordered_multimap<std::size_t, std::weak_ptr<const statement>> statements_;
    std::uint64_t next_id_ = 1;
    std::size_t purge_at_ = 256;
};

// What one server connection has prepared, least recently used last. Confined to its worker.
class prepared_cache {
  public:
    // sent: the Parse is on its way in the batch being written; pending: in an earlier batch, which
    // may still fail. stale: prepared, but its plan is refused.
    enum class state { missing, sent, pending, ready, stale };

    // Looks a statement up and marks it as used; `batch` is the number of the batch being written.
    [[nodiscard]] state use(std::uint64_t id, std::uint64_t batch);
    // Its Parse goes out in `batch`; it is ready when the server has said so.
    void add(statement_ptr added, std::uint64_t batch);
    void confirm(std::uint64_t id);
    void erase(std::uint64_t id);
    void mark_stale(std::uint64_t id);
    void clear();
    [[nodiscard]] statement_ptr find(std::uint64_t id) const;
    // The statement to close so that at most `limit` - 1 remain, or null when there is room.
    [[nodiscard]] statement_ptr evict(std::size_t limit);
    [[nodiscard]] std::size_t size() const noexcept { return by_id_.size(); }

  private:
    struct held {
        statement_ptr what;
        std::uint64_t batch = 0;
        bool confirmed = false;
        bool stale = false;
    };
    std::list<held> used_;  // most recent first
    boost::unordered_flat_map<std::uint64_t, std::list<held>::iterator> by_id_;
};

// Lets a map of strings be searched by string_view.
struct text_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept {
        return std::hash<std::string_view>{}(text);
    }
};

// SQL-level prepared statements, which are known by the same names on all connections: `query` is
// the PREPARE, `types` the name, `parsed_under` the settings that decide how it is parsed.

// What a server connection has under such a name. Neither: the client that has the connection has
// made it, and it cannot travel.
struct held_statement {
    statement_ptr what;
    bool stand_in = false;  // only there so that the name is taken
};
using held_statements = std::map<std::string, held_statement, std::less<>>;

// What a client has under such a name.
struct own_statement {
    statement_ptr what;   // null: it cannot travel, and pins
    bool broken = false;  // it could not be prepared again when last tried
};
using own_statements = std::map<std::string, own_statement, std::less<>>;

// A client's name for a statement.
struct named_statement {
    statement_ptr what;
    bool described = false;   // the client was told the shape of its rows and may rely on it
    std::uint32_t hints = 0;  // protocol::session_hint bits of its text ...
    std::uint32_t words_edition = 0;  // ... by the database's words of this edition
    std::uint32_t text = 0;           // statement_counts::handle
};
using statement_names =
    boost::unordered_flat_map<std::string, named_statement, text_hash, std::equal_to<>>;

}  // namespace sluice::pool
