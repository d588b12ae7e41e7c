// One client of the key-value port as a state machine: received bytes in, replies out, and what it
// waits for. It lives on one worker; what other threads may see of it is its client_card.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kvstore/access.hpp"
#include "kvstore/client_list.hpp"
#include "kvstore/command.hpp"
#include "kvstore/info.hpp"
#include "kvstore/slowlog.hpp"
#include "metrics/counters.hpp"

namespace sluice::kvstore {

// Something that another thread does for a client's command. The command is run again when it is
// done, and finds it with the client.
struct job {
    std::atomic<bool> done{false};  // set last, before waking
    std::string error;              // empty: it went well
    std::string text;
};

// What the daemon does for clients; thread-safe. `wake` is called on any thread.
class host {
  public:
    // Reads the project's file on another thread: store.load(). Its state is `loading` already.
    virtual void start_loading(std::shared_ptr<project> which) = 0;
    // On the maintenance thread; null: one is running already.
    virtual std::shared_ptr<job> start_saving(std::function<void()> wake) = 0;
    virtual std::shared_ptr<job> start_backup(std::string into, std::function<void()> wake) = 0;
    [[nodiscard]] virtual bool is_saving() const = 0;
    // On a helper: whether the password fits the verifier, which is the job's text; an error text
    // if it does not.
    virtual std::shared_ptr<job> start_check(std::string verifier, std::string password,
                                             std::function<void()> wake) = 0;
    // Redis's names and values of what is set; for CONFIG GET.
    [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> configuration()
        const = 0;
    // Empty: done. Otherwise why not, as Redis words it.
    virtual std::string set_configuration(std::string_view name, std::string_view value) = 0;
    // What INFO tells of the process: version, uptime, memory, processor time, clients, commands.
    struct process_facts {
        std::string version;
        std::string config_file;
        std::uint16_t port = 0;
        time_ms started_ms = 0;
        std::string os;  // "Linux 6.1.0 x86_64"
        std::string run_id;
        std::int64_t process_id = 0;
        std::uint64_t memory = 0;  // resident bytes
        std::uint64_t peak_memory = 0;
        std::uint64_t system_memory = 0;
        double cpu_user = 0;  // seconds
        double cpu_system = 0;
        std::uint64_t maxclients = 0;
        std::uint64_t connections = 0;  // accepted ever
        std::uint64_t rejected = 0;
        std::vector<const metrics::kv_counters*> workers;
    };
    [[nodiscard]] virtual process_facts facts() const = 0;

    reset_point statistics_since;  // CONFIG RESETSTAT

  protected:
    ~host() = default;
};

// What a worker lends its clients while one of them runs.
struct turn {
    store& db;
    host& outside;
    client_list& clients;
    slowlog& slow;
    reply_buffer& reply;
    batch& changes;
    metrics::kv_counters& counts;
    std::shared_ptr<const config::kv_settings> settings;
    std::shared_ptr<const access_list> access;
    time_ms now = 0;
    std::uint64_t (*clock_ns)() = nullptr;  // monotonic
};

// Bytes of replies that are made before they must have gone out, for a client that has not
// authenticated. Of its commands protocol::most_before_login are kept.
inline constexpr std::size_t most_replies_before_login = std::size_t{4} << 10;

class client {
  public:
    explicit client(std::shared_ptr<client_card> its_card) : card(std::move(its_card)) {}
    ~client() { leave(); }
    client(const client&) = delete;
    client& operator=(const client&) = delete;

    enum class wants {
        bytes,      // the next command has not arrived whole
        wake,       // a project is being read or a job is done for it
        room,       // the log is behind: run() again on its progress
        turn_over,  // there is more to do, but first the replies have to go out
        close,      // after the replies
    };
    struct progress {
        wants next = wants::bytes;
        std::size_t consumed = 0;
        std::size_t expected = 0;  // bytes: how many would be of use, if known
        log_number waits_for = 0;  // replies may go when the log is safe up to here; 0: at once
    };
    // Carries out the commands of `input`, or as many as go in one turn; the replies are in
    // in.reply. `wake` may be called on any thread.
    [[nodiscard]] progress run(protocol::byte_span input, turn& in,
                               const std::function<void()>& wake);
    // Takes its watches off; no lock may be held.
    void leave();
    // A reload: false, it may not stay.
    [[nodiscard]] bool adopt(const std::shared_ptr<const access_list>& access);

    // --- for commands ---
    std::shared_ptr<client_card> card;
    std::shared_ptr<const access_list> access;  // that `who` is in
    const user* who = nullptr;                  // null: has to authenticate
    bool is_control = false;                    // came by the control socket: may do everything
    // Names that its certificate speaks for; not set without TLS.
    std::optional<std::vector<std::string>> certificate_names;
    int version = 2;
    project_id selected = 0;
    bool select_was_refused = false;
    enum class replies { on, off, skip };  // skip: the next one's
    replies reply_mode = replies::on;
    bool closes = false;  // after the replies

    std::shared_ptr<job> pending;                  // what its command waits for
    const std::function<void()>* waker = nullptr;  // during run()

    // A password that one of EXEC's commands logs in with, and that takes time to check.
    struct checked_login {
        std::size_t command;  // its number among the queued ones
        std::string verifier;
        std::shared_ptr<job> check;
    };
    struct transaction_state {
        bool open = false;    // between MULTI and EXEC
        bool broken = false;  // a command could not be queued
        bool writes = false;
        std::vector<std::vector<std::string>> commands;
        std::uint64_t bytes = 0;
        std::vector<checked_login> logins;  // in the order of the commands
        std::size_t running = 0;            // the number of the command that EXEC runs
    } transaction;
    struct watched_key {
        std::shared_ptr<project> in;
        std::string key;
        bool was_expired = false;
    };
    std::vector<watched_key> watched;
    std::atomic<bool> touched{false};  // a watched key was changed
    bool reply_is_too_big = false;     // of the command that runs
    // While commands that were queued are carried out: theirs.
    transaction_state* in_exec = nullptr;

    void select(project_id id) noexcept;
    void end_transaction();
    void unwatch();  // takes the projects' locks itself: none may be held
    // Runs one command whose projects are held; EXEC runs its commands through this.
    void execute(call& what, const command& row);
    // What came of a queued command's password for that user; slow: it was not checked.
    [[nodiscard]] static access_list::answer checked(const transaction_state& in,
                                                     std::size_t number, const user& of);
    // Has EXEC's passwords checked, and holds all projects that its commands name. done: they are
    // here.
    enum class step {
        done,
        answered,  // done, with an error
        again,     // not consumed: what it waits for has to come first
        stop,      // close
    };
    [[nodiscard]] step hold_for_transaction(call& what);
    // What EXEC's commands may write beyond their arguments; with their projects held.
    [[nodiscard]] std::uint64_t room_for_copies(const call& what) const;
    // Room for that much more than the command's own arguments; false: it has answered, or is run
    // again when there is room.
    [[nodiscard]] bool has_room(call& what, std::uint64_t bytes);
    // The command waits for this: it is run again when the job is done.
    void await(std::shared_ptr<job> what) noexcept {
        pending = std::move(what);
        stopped_by_ = wants::wake;
    }
    // Whether the data command may go on: `here` is set; otherwise it has answered.
    [[nodiscard]] bool may_use_project(call& what) const;

  private:
    [[nodiscard]] const command* look_up(std::string_view name);
    [[nodiscard]] step take(std::span<const std::string_view> args, turn& in);
    [[nodiscard]] step begin(call& what, const command& row);
    void abort_exec(turn& in, const reply_buffer::mark& before);
    [[nodiscard]] bool is_refused(call& what, const command* row);
    using queued_call = std::function<void(std::span<const std::string_view> args,
                                           const command& row, project_id at, const user& by)>;
    void go_over_queued(const call& what, const queued_call& each) const;
    [[nodiscard]] step check_logins(call& what);
    static void add_named(std::span<const std::string_view> args, const command& row,
                          std::vector<project_id>& out);
    [[nodiscard]] step hold_projects(call& what, const command& row);
    void hold_several(const std::vector<project_id>& ids, call& what) const;
    [[nodiscard]] step bring(call& what);
    void queue(call& what, const command& row);
    void tell_monitors(const call& what) const;
    void account(const call& what, const command& row, std::uint64_t began, bool failed);

    protocol::resp_parser parser_;
    std::shared_ptr<project> project_;  // the selected one, once used
    const command* last_ = nullptr;
    std::string last_name_;  // as it was written
    wants stopped_by_ = wants::bytes;
};

using job_start = std::function<std::shared_ptr<job>(const std::function<void()>& wake)>;
// For a command that begins a job and answers when it is done; `busy`: why none can begin now.
void await_job(call& c, std::string_view busy, const job_start& start);

}  // namespace sluice::kvstore
