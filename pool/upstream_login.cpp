#include "pool/upstream_login.hpp"

#include <fcntl.h>
#include <libpq-fe.h>
#include <openssl/crypto.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "protocol/bytes.hpp"

namespace sluice::pool {

namespace {

using std::chrono::milliseconds;

// What a server may report at login (PostgreSQL 15 to 18); libpq has no list to ask for.
constexpr std::array<const char*, 15> reportable{"server_version",
                                                 "server_encoding",
                                                 "client_encoding",
                                                 "application_name",
                                                 "default_transaction_read_only",
                                                 "in_hot_standby",
                                                 "is_superuser",
                                                 "session_authorization",
                                                 "DateStyle",
                                                 "IntervalStyle",
                                                 "TimeZone",
                                                 "integer_datetimes",
                                                 "standard_conforming_strings",
                                                 "scram_iterations",
                                                 "search_path"};

// Errors of the network that pass when the server comes up, or wakes.
constexpr std::array<std::string_view, 12> passing_network{"Connection refused",
                                                           "timeout expired",
                                                           "Connection timed out",
                                                           "Connection reset",
                                                           "closed the connection",
                                                           "No route to host",
                                                           "Network is unreachable",
                                                           "could not translate host name",
                                                           "Broken pipe",
                                                           "No such file or directory",
                                                           "Temporary failure",
                                                           "SSL SYSCALL error: EOF"};

// Neon's proxy reports everything as XX000; its messages tell what passes by itself.
constexpr std::array<std::string_view, 6> passing_neon{
    "Couldn't connect to compute node", "Failed to acquire permit",
    "Too many connections attempts",    "Too many connections to this endpoint",
    "temporarily unavailable",          "Authentication timed out"};

template <std::size_t N>
bool mentions(std::string_view text, const std::array<std::string_view, N>& words) {
    return std::any_of(words.begin(), words.end(),
                       [&](std::string_view word) { return text.find(word) != text.npos; });
}

bool is_hopeless(const login_failure& failure, bool from_server) {
    if (!from_server) return !mentions(failure.message, passing_network);
    if (failure.sqlstate == "57P03" || failure.sqlstate == "57P01" || failure.sqlstate == "57P02") {
        return false;
    }
    if (failure.sqlstate == "XX000") {
        return failure.message.find("uota") != std::string::npos &&
                       failure.message.find("temporarily") == std::string::npos
                   ? true
                   : !mentions(failure.message, passing_neon);
    }
    return true;
}

// The five characters of an SQLSTATE between "SEVERITY:  " and ": "; npos if there are none.
std::size_t find_sqlstate(std::string_view text) {
    for (std::size_t at = text.find(":  "); at != text.npos; at = text.find(":  ", at + 1)) {
        const auto code = text.substr(at + 3, 7);
        if (code.size() == 7 && code.substr(5) == ": " &&
            std::all_of(code.begin(), code.begin() + 5, [](unsigned char c) {
                return std::isdigit(c) != 0 || std::isupper(c) != 0;
            })) {
            return at + 3;
        }
    }
    return text.npos;
}

std::string labelled_line(std::string_view text, std::string_view label) {
    const auto at = text.find(label);
    if (at == text.npos) return {};
    const auto from = at + label.size();
    return std::string(text.substr(from, text.find('\n', from) - from));
}

struct option_list {
    std::vector<const char*> names;
    std::vector<const char*> values;

    void add(const char* name, const char* value) {
        names.push_back(name);
        values.push_back(value);
    }
};

using handle_ptr = std::unique_ptr<PGconn, pg_conn_deleter>;

handle_ptr start(const login_order& order) {
    option_list options;
    for (const auto& [name, value] : order.under)
        options.add(name.c_str(), value.c_str());
    options.add("dbname", order.conninfo.c_str());  // the first one may be a connection string
    for (const auto& [name, value] : order.over)
        options.add(name.c_str(), value.c_str());
    options.add("gssencmode", "disable");
    options.add(nullptr, nullptr);
    return handle_ptr(PQconnectStartParams(options.names.data(), options.values.data(), 1));
}

enum class outcome { connected, failed, timed_out, stopped };

// libpq passes through each of these states between two polls.
void note_time(const PGconn* connection, login_times& times) {
    const auto now = std::chrono::steady_clock::now();
    const auto state = PQstatus(connection);
    if (state == CONNECTION_BAD || state == CONNECTION_NEEDED || state == CONNECTION_STARTED)
        return;
    constexpr std::chrono::steady_clock::time_point never;
    if (times.connected == never) times.connected = now;
    if (state == CONNECTION_SSL_STARTUP || state == CONNECTION_MADE) return;
    if (times.encrypted == never && PQsslInUse(const_cast<PGconn*>(connection)) != 0) {
        times.encrypted = now;
    }
    if (state == CONNECTION_OK) times.done = now;
}

outcome drive(PGconn* connection, const login_order& order) {
    auto wanted = PGRES_POLLING_WRITING;
    for (;;) {
        pollfd entry{PQsocket(connection),
                     static_cast<short>(wanted == PGRES_POLLING_READING ? POLLIN : POLLOUT), 0};
        const auto left = std::chrono::duration_cast<milliseconds>(
            order.deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return outcome::timed_out;
        if (order.stop != nullptr && order.stop->load()) return outcome::stopped;
        const auto slice = std::min<milliseconds>(left, milliseconds(200));
        if (poll(&entry, 1, static_cast<int>(slice.count())) <= 0) continue;
        wanted = PQconnectPoll(connection);
        if (order.times != nullptr) note_time(connection, *order.times);
        if (wanted == PGRES_POLLING_OK) return outcome::connected;
        if (wanted == PGRES_POLLING_FAILED) return outcome::failed;
    }
}

// libpq keeps the cancel key to itself; its trace of the login shows it. The trace's other lines
// hold no secret (messages to the server are traced by length alone), and are wiped all the same.
class key_trace {
  public:
    explicit key_trace(PGconn* connection)
        : connection_(connection), file_(open_memstream(&text_, &size_)) {
        if (file_ == nullptr) return;
        PQtrace(connection_, file_);
        PQsetTraceFlags(connection_, PQTRACE_SUPPRESS_TIMESTAMPS);
    }
    ~key_trace() {
        stop();
        if (text_ != nullptr) OPENSSL_cleanse(text_, size_);
        std::free(text_);
    }
    key_trace(const key_trace&) = delete;
    key_trace& operator=(const key_trace&) = delete;

    // The secret of the last BackendKeyData.
    int secret() {
        stop();
        const std::string_view all(text_ == nullptr ? "" : text_, size_);
        const auto at = all.rfind("BackendKeyData\t");
        if (at == all.npos) return 0;
        const std::string line(all.substr(at + 15, all.find('\n', at) - at - 15));
        char* behind_id = nullptr;
        std::strtol(line.c_str(), &behind_id, 10);
        return static_cast<int>(std::strtol(behind_id, nullptr, 10));
    }

  private:
    void stop() {
        if (file_ == nullptr) return;
        PQuntrace(connection_);
        std::fclose(file_);
        file_ = nullptr;
    }
    PGconn* connection_;
    char* text_ = nullptr;
    std::size_t size_ = 0;
    std::FILE* file_;
};

std::shared_ptr<const cancel_target> target_of(const upstream_connection& connection, int secret) {
    sockaddr_storage peer{};
    socklen_t length = sizeof peer;
    if (getpeername(connection.descriptor, reinterpret_cast<sockaddr*>(&peer), &length) != 0) {
        return nullptr;
    }
    auto out = std::make_shared<cancel_target>();
    out->address.assign(reinterpret_cast<const char*>(&peer), length);
    out->process_id = connection.process_id;
    out->secret = secret;
    return out;
}

bool wait_for(int descriptor, short events, std::chrono::steady_clock::time_point deadline) {
    for (;;) {
        const auto left =
            std::chrono::duration_cast<milliseconds>(deadline - std::chrono::steady_clock::now());
        if (left.count() <= 0) return false;
        pollfd entry{descriptor, events, 0};
        const int ready = poll(&entry, 1, static_cast<int>(left.count()));
        if (ready > 0) return true;
        if (ready < 0 && errno != EINTR) return false;
    }
}

upstream_connection take_over(handle_ptr handle, int secret) {
    // Notices and parameter changes that libpq has read already are parsed here, so that the first
    // byte we read ourselves begins a message.
    static_cast<void>(PQisBusy(handle.get()));
    upstream_connection out;
    out.descriptor = PQsocket(handle.get());
    out.ssl = PQsslStruct(handle.get(), "OpenSSL");
    out.process_id = PQbackendPID(handle.get());
    for (const auto* name : reportable) {
        if (const auto* value = PQparameterStatus(handle.get(), name)) {
            out.reported.emplace_back(name, value);
        }
    }
    out.cancel = target_of(out, secret);
    out.handle = std::move(handle);
    return out;
}

void ignore_notice(void*, const PGresult*) {}

login_result failed(login_failure why) {
    login_result out;
    out.failure = std::move(why);
    return out;
}

// A survey takes some hundredths of a second. One that takes this long is cancelled.
constexpr auto survey_patience = std::chrono::seconds(5);

using result_ptr = std::unique_ptr<PGresult, decltype(&PQclear)>;

// Reads until a result is there; null: nothing comes in time.
bool await_result(const login_order& order, const upstream_connection& connection,
                  std::chrono::steady_clock::time_point& cancel_at) {
    auto* handle = connection.handle.get();
    while (PQisBusy(handle) != 0) {
        const auto now = std::chrono::steady_clock::now();
        if (now >= order.deadline || (order.stop != nullptr && order.stop->load())) return false;
        if (now >= cancel_at) {
            cancel_at = order.deadline;
            if (connection.cancel != nullptr) send_cancel(*connection.cancel, order.deadline);
        }
        const auto until = std::min({cancel_at, order.deadline, now + milliseconds(200)});
        static_cast<void>(wait_for(connection.descriptor, POLLIN, until));
        if (PQconsumeInput(handle) == 0) return false;
    }
    return true;
}

// False: the connection is of no use any more.
bool run_survey(const login_order& order, const upstream_connection& connection,
                login_result& into) {
    auto* handle = connection.handle.get();
    if (PQsendQuery(handle, std::string(survey_sql()).c_str()) == 0) return false;
    PQsetSingleRowMode(handle);
    auto cancel_at = std::chrono::steady_clock::now() + survey_patience;
    function_survey survey;
    bool understood = true;
    for (;;) {
        if (!await_result(order, connection, cancel_at)) return false;
        const result_ptr result(PQgetResult(handle), &PQclear);
        if (result == nullptr) break;
        switch (PQresultStatus(result.get())) {
            case PGRES_SINGLE_TUPLE:
                understood =
                    understood && PQnfields(result.get()) == 3 &&
                    survey.add_row(PQgetvalue(result.get(), 0, 0), PQgetvalue(result.get(), 0, 1),
                                   PQgetvalue(result.get(), 0, 2));
                break;
            case PGRES_TUPLES_OK:
                break;
            default: {
                const auto* code = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
                into.survey_failure = code == nullptr ? "08006" : code;
                break;
            }
        }
    }
    if (!understood) into.survey_failure = "08P01";
    if (into.survey_failure.empty()) into.survey = survey.finish();
    return PQstatus(handle) == CONNECTION_OK && PQtransactionStatus(handle) == PQTRANS_IDLE;
}

}  // namespace

void pg_conn_deleter::operator()(PGconn* connection) const noexcept {
    PQfinish(connection);
}

std::optional<upstream_address> parse_address(const std::string& conninfo) {
    char* message = nullptr;
    const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(
        PQconninfoParse(conninfo.c_str(), &message), &PQconninfoFree);
    if (message != nullptr) PQfreemem(message);
    if (options == nullptr) return std::nullopt;
    upstream_address out;
    for (const auto* option = options.get(); option->keyword != nullptr; ++option) {
        if (option->val == nullptr) continue;
        const std::string_view name = option->keyword;
        if (name == "user") out.user = option->val;
        if (name == "password") out.password = option->val;
        if (name == "dbname") out.database = option->val;
        if (name == "host") out.host = option->val;
        if (name == "port") out.port = option->val;
    }
    return out;
}

bool is_address(const std::string& conninfo) {
    return parse_address(conninfo).has_value();
}

login_failure read_failure(std::string_view text) {
    login_failure out;
    const auto code = find_sqlstate(text);
    if (code == text.npos) {
        out.sqlstate = "08006";
        out.message = std::string(text.substr(0, text.find('\n')));
        out.hopeless = is_hopeless({out.sqlstate, std::string(text), {}, {}, false}, false);
        if (out.hopeless) out.sqlstate = "08001";
        return out;
    }
    out.sqlstate = text.substr(code, 5);
    const auto from = code + 7;
    auto end = text.npos;  // the message may have several lines
    for (const auto* label : {"\nDETAIL:  ", "\nHINT:  ", "\nLOCATION:  ", "\nCONTEXT:  "}) {
        end = std::min(end, text.find(label, from));
    }
    out.message = std::string(text.substr(from, end == text.npos ? end : end - from));
    while (!out.message.empty() && out.message.back() == '\n')
        out.message.pop_back();
    out.detail = labelled_line(text, "\nDETAIL:  ");
    out.hint = labelled_line(text, "\nHINT:  ");
    out.hopeless = is_hopeless(out, true);
    return out;
}

login_result log_in(const login_order& order) {
    // Destroyed before the handle, which it points to.
    auto handle = start(order);
    if (handle == nullptr) return failed({"53200", "out of memory", {}, {}, false});
    if (order.times != nullptr) order.times->resolved = std::chrono::steady_clock::now();
    PQsetErrorVerbosity(handle.get(), PQERRORS_VERBOSE);  // the only way to the SQLSTATE
    PQsetNoticeReceiver(handle.get(), &ignore_notice, nullptr);
    if (PQstatus(handle.get()) == CONNECTION_BAD) {
        return failed(read_failure(PQerrorMessage(handle.get())));
    }
    key_trace trace(handle.get());
    switch (drive(handle.get(), order)) {
        case outcome::connected: {
            const int secret = trace.secret();
            login_result out;
            out.connection = take_over(std::move(handle), secret);
            if (order.survey && !run_survey(order, *out.connection, out)) {
                out.failure = read_failure(PQerrorMessage(out.connection->handle.get()));
                out.failure.hopeless = false;
                out.connection.reset();
            }
            return out;
        }
        case outcome::failed:
            return failed(read_failure(PQerrorMessage(handle.get())));
        case outcome::timed_out:
            return failed({"08001",
                           "connecting to the server took longer than server_connect_timeout",
                           {},
                           {},
                           false});
        case outcome::stopped:
            break;
    }
    return failed({"57P01", "sluice is shutting down", {}, {}, true});
}

answer_row ask(const upstream_connection& connection, const std::string& sql,
               std::chrono::steady_clock::time_point deadline) {
    auto* handle = connection.handle.get();
    answer_row out;
    const auto lost = [&] {
        out.sqlstate = "08006";
        out.message = "the server did not answer";
        return out;
    };
    login_order order;
    order.deadline = deadline;
    auto cancel_at = deadline;
    if (PQsendQuery(handle, sql.c_str()) == 0) return lost();
    for (;;) {
        if (!await_result(order, connection, cancel_at)) return lost();
        const result_ptr result(PQgetResult(handle), &PQclear);
        if (result == nullptr) return out;
        if (PQresultStatus(result.get()) == PGRES_TUPLES_OK) {
            for (int i = 0; PQntuples(result.get()) > 0 && i < PQnfields(result.get()); ++i)
                out.values.emplace_back(PQgetvalue(result.get(), 0, i));
            continue;
        }
        const auto* code = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
        const auto* text = PQresultErrorField(result.get(), PG_DIAG_MESSAGE_PRIMARY);
        out.sqlstate = code == nullptr ? "08006" : code;
        out.message = text == nullptr ? "the query failed" : text;
    }
}

bool send_cancel(const cancel_target& target, std::chrono::steady_clock::time_point deadline) {
    const auto* address = reinterpret_cast<const sockaddr*>(target.address.data());
    const int descriptor =
        socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (descriptor < 0) return false;
    bool taken = connect(descriptor, address, static_cast<socklen_t>(target.address.size())) == 0 ||
                 (errno == EINPROGRESS && wait_for(descriptor, POLLOUT, deadline));
    if (taken) {
        std::array<char, 16> request{};
        protocol::store_u32(request.data(), 16);
        protocol::store_u32(request.data() + 4, 80877102);
        protocol::store_u32(request.data() + 8, static_cast<std::uint32_t>(target.process_id));
        protocol::store_u32(request.data() + 12, static_cast<std::uint32_t>(target.secret));
        taken = send(descriptor, request.data(), request.size(), MSG_NOSIGNAL) ==
                static_cast<ssize_t>(request.size());
    }
    if (taken) taken = wait_for(descriptor, POLLIN, deadline);  // an end is readable
    close(descriptor);
    return taken;
}

}  // namespace sluice::pool
