//! What the types of the sections cannot say.

use std::path::PathBuf;

use super::{Config, Layers, Problem, SiteSection};

const MIB: u64 = 1024 * 1024;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What types cannot say: ranges, and keys that must fit each other.
pub(super) fn check(config: &Config, layers: &Layers<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (section, key, value, range) in bounds(config) {
        if !range.contains(&value) {
            problems.push(Problem::new(
                layers.place(section, key),
                format!("{section}.{key}"),
                format!("{value} is out of range"),
                format!("give {} to {}", range.start(), range.end()),
            ));
        }
    }
    let mut refuse = |wrong: bool, section: &str, key: &str, message: &str, help: &str| {
        if wrong {
            let place = layers.place(section, key);
            problems.push(Problem::new(place, format!("{section}.{key}"), message, help));
        }
    };
    let listener = &config.partner_listener;
    refuse(
        config.site.name.trim().is_empty(),
        "site",
        "name",
        "is empty",
        "give a name for people",
    );
    refuse(
        listener.bind.is_empty(),
        "partner_listener",
        "bind",
        "names no address",
        "give at least one, such as `0.0.0.0:8443`",
    );
    refuse(
        listener.max_connections_per_partner_count > listener.max_connections_count,
        "partner_listener",
        "max_connections_per_partner_count",
        "is more than `max_connections_count`",
        "one partner cannot have more connections than all together",
    );
    refuse(
        listener.max_concurrent_transfers_per_partner_count
            > listener.max_concurrent_transfers_count,
        "partner_listener",
        "max_concurrent_transfers_per_partner_count",
        "is more than `max_concurrent_transfers_count`",
        "one partner cannot have more transfers than all together",
    );
    let is_name = |tag: &String| {
        !tag.is_empty()
            && tag.len() <= 256
            && !tag.contains(|c: char| c.is_whitespace() || c.is_control())
    };
    refuse(
        !config.catalog.nested_by_tags.iter().all(is_name),
        "catalog",
        "nested_by_tags",
        "has a tag that cannot name a nested catalog",
        "its id ends in the tag: give 1 to 256 bytes without spaces",
    );
    refuse(
        config.outbound.retry_minimum_ms > config.outbound.retry_maximum_ms,
        "outbound",
        "retry_minimum_ms",
        "is more than `retry_maximum_ms`",
        "the time between attempts grows from the first to the second",
    );
    refuse(
        config.processes.negotiation_deadline_seconds <= config.processes.approval_deadline_seconds,
        "processes",
        "negotiation_deadline_seconds",
        "is not more than `approval_deadline_seconds`",
        "a partner's people may take as long as ours: a negotiation would end while it waits for their decision",
    );
    refuse(
        config.telemetry.log_level.parse::<tracing_subscriber::EnvFilter>().is_err(),
        "telemetry",
        "log_level",
        "is not a filter",
        "give `error`, `warn`, `info`, `debug`, `trace`, or such as `info,daemon::net=debug`",
    );
    for (key, directory) in directories(&config.site) {
        let shared = directories(&config.site)
            .into_iter()
            .any(|(other, path)| other != key && path == directory);
        refuse(
            directory.as_os_str().is_empty() || shared,
            "site",
            key,
            "is empty or used twice",
            "each directory has one purpose",
        );
    }
    problems
}

fn directories(site: &SiteSection) -> [(&'static str, &PathBuf); 4] {
    [
        ("partners_directory", &site.partners_directory),
        ("policies_directory", &site.policies_directory),
        ("pki_directory", &site.pki_directory),
        ("data_directory", &site.data_directory),
    ]
}

type Bound = (&'static str, &'static str, u64, std::ops::RangeInclusive<u64>);

/// The range of every number.
fn bounds(config: &Config) -> Vec<Bound> {
    macro_rules! ranges {
        ($($section:ident: { $($key:ident in $low:expr, $high:expr;)* })*) => {
            vec![$($((
                stringify!($section),
                stringify!($key),
                u64::try_from(config.$section.$key).unwrap_or(u64::MAX),
                $low..=$high,
            )),*),*]
        };
    }
    ranges! {
        partner_listener: {
            max_body_bytes in 16 * 1024, 64 * MIB;
            max_unread_body_bytes_per_partner in 64 * 1024, 4096 * MIB;
            max_message_bytes_per_partner_per_hour in MIB, u64::MAX;
            max_header_bytes in 8 * 1024, MIB;
            max_header_count in 16, 1000;
            max_json_depth in 8, 256;
            max_connections_count in 1, 1_000_000;
            max_connections_per_partner_count in 1, 1_000_000;
            max_handshakes_count in 1, 1_000_000;
            max_handshakes_per_address_count in 1, 1_000_000;
            stall_timeout_ms in 100, 600_000;
            max_unsent_bytes in 4096, 64 * MIB;
            max_concurrent_catalog_requests_per_partner_count in 1, 10_000;
            max_refusals_per_partner_per_second_count in 1, 10_000;
            max_refusals_per_partner_per_hour_count in 1, 1_000_000;
            handshake_timeout_ms in 100, 120_000;
            header_timeout_ms in 100, 120_000;
            idle_timeout_seconds in 1, 86_400;
            minimum_rate_bytes_per_second in 1, MIB;
            max_concurrent_streams_count in 1, 10_000;
            max_concurrent_transfers_count in 1, 1_000_000;
            max_concurrent_transfers_per_partner_count in 1, 1_000_000;
            drain_seconds in 0, 86_400;
        }
        management: {
            max_connections_count in 1, 10_000;
            max_requests_per_key_per_second_count in 1, 1_000_000;
        }
        status_listener: { max_connections_count in 1, 10_000; }
        outbound: {
            connect_timeout_ms in 100, 120_000;
            handshake_timeout_ms in 100, 120_000;
            request_timeout_ms in 100, 600_000;
            stall_timeout_ms in 100, 600_000;
            max_header_bytes in 8 * 1024, MIB;
            max_header_count in 16, 1000;
            max_response_bytes in 64 * 1024, 64 * MIB;
            retry_minimum_ms in 10, DAY_MS;
            retry_maximum_ms in 10, DAY_MS;
            delivery_deadline_seconds in 1, 30 * 86_400;
            refusal_patience_ms in 0, 600_000;
            max_waiting_messages_per_partner_count in 1, 1_000_000;
            max_idle_connections_per_partner_count in 0, 1000;
            idle_connection_seconds in 1, 3600;
        }
        processes: {
            approval_deadline_seconds in 1, 366 * 86_400;
            max_open_negotiations_per_partner_count in 1, 1_000_000;
            max_open_transfers_per_partner_count in 1, 1_000_000;
            negotiation_deadline_seconds in 1, 366 * 86_400;
            transfer_request_deadline_seconds in 1, 366 * 86_400;
            transfer_idle_deadline_seconds in 1, 366 * 86_400;
            transfer_suspended_deadline_seconds in 1, 366 * 86_400;
        }
        catalog: {
            max_page_datasets_count in 1, 1_000;
        }
        journal: {
            segment_bytes in MIB, 4096 * MIB;
            snapshot_interval_bytes in MIB, 1024 * 1024 * MIB;
            index_cache_bytes in MIB, 64 * 1024 * MIB;
            max_waiting_transactions_count in 16, 1_000_000;
        }
        data: {
            max_incoming_bytes in 1, u64::MAX;
            max_concurrent_pulls_count in 1, 1000;
            max_kept_copies_count in 1, 100_000;
            stall_timeout_seconds in 1, 3600;
        }
        telemetry: { otlp_timeout_ms in 100, 60_000; otlp_interval_seconds in 1, 3600; }
        clock: { max_step_seconds in 1, 86_400; tick_seconds in 1, 60; }
    }
}
