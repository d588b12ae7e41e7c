// The counters and histograms of the Postgres side in the order of the page: name, meaning, member
// of the block that holds them. Included by exposition.cpp only.
#pragma once

#include <array>
#include <tuple>

#include "metrics/counters.hpp"

namespace sluice::metrics {

struct pool_counter_row {
    const char* name;
    const char* help;
    counter pool_counters::*member;
};

constexpr std::array pool_counter_rows{
    pool_counter_row{"sluice_queries_total",
                     "Queries completed: simple queries and extended-protocol batches.",
                     &pool_counters::queries},
    pool_counter_row{"sluice_transactions_total",
                     "Transactions completed: times that a client gave a server connection back.",
                     &pool_counters::transactions},
    pool_counter_row{"sluice_client_received_bytes_total", "Bytes received from clients.",
                     &pool_counters::client_bytes_received},
    pool_counter_row{"sluice_client_sent_bytes_total", "Bytes sent to clients.",
                     &pool_counters::client_bytes_sent},
    pool_counter_row{"sluice_server_received_bytes_total", "Bytes received from PostgreSQL.",
                     &pool_counters::server_bytes_received},
    pool_counter_row{"sluice_server_sent_bytes_total", "Bytes sent to PostgreSQL.",
                     &pool_counters::server_bytes_sent},
    pool_counter_row{"sluice_prepared_statement_hits_total",
                     "Uses of a prepared statement that the server connection already had.",
                     &pool_counters::statement_hits},
    pool_counter_row{
        "sluice_prepared_statement_misses_total",
        "Uses of a prepared statement that had to be prepared on the server connection.",
        &pool_counters::statement_misses},
    pool_counter_row{"sluice_prepared_statement_evictions_total",
                     "Prepared statements closed on a server connection to stay within "
                     "max_prepared_statements.",
                     &pool_counters::statement_evictions},
    pool_counter_row{"sluice_prepared_statement_replans_total",
                     "Batches prepared anew and run again after a schema change made a cached plan "
                     "unusable.",
                     &pool_counters::statement_replans},
    pool_counter_row{"sluice_upstream_logins_total", "Successful logins to PostgreSQL.",
                     &pool_counters::upstream_logins},
    pool_counter_row{"sluice_upstream_login_failures_total",
                     "Attempts to connect or log in to PostgreSQL that failed.",
                     &pool_counters::upstream_login_failures},
    pool_counter_row{"sluice_upstream_cancels_total", "Cancel requests sent to PostgreSQL.",
                     &pool_counters::cancels},
    pool_counter_row{"sluice_rescued_connections_total",
                     "Server connections kept although their client left in a transaction.",
                     &pool_counters::rescued_connections},
    pool_counter_row{"sluice_moved_connections_total",
                     "Server connections handed to another worker thread.",
                     &pool_counters::moved_connections},
    pool_counter_row{"sluice_notifications_delivered_total",
                     "Notifications handed to listening clients, once for each client.",
                     &pool_counters::notifications_delivered},
};

struct pool_histogram_row {
    const char* name;
    const char* help;
    histogram pool_counters::*member;
};

constexpr std::array pool_histogram_rows{
    pool_histogram_row{"sluice_query_duration_seconds",
                       "Time from a query's arrival until PostgreSQL was ready for the next one.",
                       &pool_counters::query_seconds},
    pool_histogram_row{"sluice_transaction_duration_seconds",
                       "Time that a client held a server connection.",
                       &pool_counters::transaction_seconds},
    pool_histogram_row{"sluice_wait_duration_seconds",
                       "Time that a client waited for a server connection.",
                       &pool_counters::wait_seconds},
    pool_histogram_row{"sluice_upstream_login_duration_seconds",
                       "Time to connect and log in to PostgreSQL.", &pool_counters::login_seconds},
};

struct worker_counter_row {
    const char* name;
    const char* help;
    counter worker_counters::*member;
};

constexpr std::array worker_counter_rows{
    worker_counter_row{"sluice_clients_accepted_total", "Client connections accepted.",
                       &worker_counters::clients_accepted},
    worker_counter_row{"sluice_clients_refused_total",
                       "Client connections refused because of a limit or a shutdown.",
                       &worker_counters::clients_refused},
    worker_counter_row{
        "sluice_client_login_failures_total",
        "Clients that did not log in: wrong credentials, unknown database, time-out.",
        &worker_counters::client_login_failures},
    worker_counter_row{"sluice_cancel_requests_total", "Cancel requests received from clients.",
                       &worker_counters::cancel_requests},
    worker_counter_row{"sluice_internal_errors_total",
                       "Connections closed because of a bug in sluice. Please report it.",
                       &worker_counters::internal_errors},
};

struct error_kind_row {
    error_class kind;
    const char* name;
    const char* sqlstate_class;
};

constexpr std::array error_kind_rows{
    error_kind_row{error_class::connection, "connection", "08"},
    error_kind_row{error_class::authorization, "authorization", "28"},
    error_kind_row{error_class::resources, "resources", "53"},
    error_kind_row{error_class::intervention, "intervention", "57"},
    error_kind_row{error_class::syntax, "syntax", "42"},
    error_kind_row{error_class::integrity, "integrity", "23"},
    error_kind_row{error_class::transaction, "transaction", "25,40"},
    error_kind_row{error_class::other, "other", "other"},
};
static_assert(error_kind_rows.size() ==
              std::tuple_size_v<decltype(pool_counters::errors_by_class)>);

}  // namespace sluice::metrics
