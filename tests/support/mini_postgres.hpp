// A model of one PostgreSQL backend after login, small enough to be believed: what it answers to
// any sequence of messages, and what it commits. Tests compare a client behind a link with a client
// that talks to such a backend alone. Source: PostgreSQL 15, tcop/postgres.c, and its
// documentation, chapter "Message Flow".
//
// Its SQL (statements end with ';'):
//   begin | commit | rollback
//   select <n> ...      n rows, of which each says the statement and the parameters
//   star ...            one row whose shape `alter` changes
//   effect <word>       noted in the database when its transaction commits
//   fail <sqlstate> | syntax | fatal | die
//   note | notify       a NoticeResponse, a NotificationResponse
//   set <name> <value> | show <name> | reset <name> | reset all
//   SELECT pg_catalog.set_config(E'...',E'...',false)[, ...]
//   copy in | copy out <n>
//   deallocate all | discard all | DEALLOCATE <name> | alter
// and whatever else a link says to clean up.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace sluice::test {

// What the backends of one server share.
struct mini_database {
    std::vector<std::string> committed;
    int shape = 0;
};

class mini_postgres {
  public:
    using setting_list = std::vector<std::pair<std::string, std::string>>;

    explicit mini_postgres(std::shared_ptr<mini_database> database,
                           const setting_list& startup = {});

    // Gives it bytes; returns what it sends at once (it holds answers back until Sync or Flush).
    [[nodiscard]] std::string feed(std::string_view bytes);
    [[nodiscard]] bool ended() const noexcept { return ended_; }
    // The client's end of the connection is closed.
    void hang_up();

    [[nodiscard]] setting_list reported() const;
    [[nodiscard]] const std::string& setting(const std::string& name) const;
    [[nodiscard]] std::size_t statements() const noexcept { return statements_.size(); }
    [[nodiscard]] char status() const noexcept { return status_; }

  private:
    struct prepared {
        std::string text;
        int shape = 0;
    };
    struct portal {
        std::string text;
        std::string values;
        int shape = 0;
        std::size_t sent = 0;
    };
    enum class outcome { done, failed, suspended, copying };

    void on_message(char type, std::string_view body);
    void on_copy_message(char type, std::string_view body);
    void on_query(std::string_view body);
    void on_parse(std::string_view body);
    void on_bind(std::string_view body);
    void on_describe(std::string_view body);
    void on_execute(std::string_view body);
    void on_close(std::string_view body);
    void go_on();
    outcome run(const std::string& text, portal* from, std::uint32_t most);
    outcome run_rows(const std::string& text, portal* from, std::uint32_t most);
    bool run_transaction(const std::string& text);
    bool run_setting(const std::string& text);
    bool run_set_config(const std::string& text);
    bool change(const std::string& name, const std::string& value);
    bool allowed(const std::string& text);
    void fail(std::string_view sqlstate, const std::string& text, std::string_view routine = {});
    void tag(std::string_view text);
    void start();
    void finish();
    void end_transaction(bool commit);
    void send_ready();
    void send_now();
    void describe_rows(const std::string& text, int shape);

    std::shared_ptr<mini_database> database_;
    std::map<std::string, prepared> statements_;
    std::map<std::string, portal> portals_;
    std::map<std::string, std::string> settings_;
    std::map<std::string, std::string> defaults_;
    std::map<std::string, std::string> at_start_;
    std::map<std::string, std::string> told_;
    std::vector<std::string> effects_;
    std::vector<std::string> left_of_query_;
    std::string in_;
    std::string held_;
    std::string out_;
    std::string copied_;
    char status_ = 'I';
    bool open_ = false;
    bool skipping_ = false;
    bool extended_ = false;
    bool copying_ = false;
    bool ended_ = false;
};

}  // namespace sluice::test
