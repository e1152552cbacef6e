//! The section `Persistence`: what is on disk, under Redis' names.
//!
//! A snapshot is what Redis calls an RDB file. The log is its append-only file, and the snapshot is that
//! one's base too: writing a snapshot is how the log is rewritten. Nothing forks, so nothing is copied on
//! write.

use super::Report;
use crate::config::SettingValue;
use crate::durability::Figures;

/// Reports these figures, for a keyspace of so many keys.
pub(super) fn report(report: &mut Report, figures: &Figures, keys: u64, now_ms: u64) {
    let since_s = |begun_ms: u64| now_ms.saturating_sub(begun_ms) / 1000;
    let is_rewriting = figures.is_saving && figures.is_logging;
    let took_s = figures.last_save_duration_ms.map(|ms| ms / 1000);
    let taking_s = figures.is_saving.then(|| since_s(figures.save_started_ms));
    report.line("loading", u64::from(figures.is_loading));
    report.line("async_loading", 0);
    for name in [
        "current_cow_peak",
        "current_cow_size",
        "current_cow_size_age",
    ] {
        report.line(name, 0);
    }
    let (part, processed, total) = if figures.is_saving {
        (figures.saved_part(keys), figures.saved_keys, keys)
    } else {
        (0.0, 0, 0)
    };
    report.line("current_fork_perc", format_args!("{:.2}", part * 100.0));
    report.line("current_save_keys_processed", processed);
    report.line("current_save_keys_total", total);
    report.line("rdb_changes_since_last_save", figures.changes_since_save);
    report.line("rdb_bgsave_in_progress", u64::from(figures.is_saving));
    report.line("rdb_last_save_time", figures.last_save_ms / 1000);
    report.line("rdb_last_bgsave_status", figures.last_save.word());
    report.line("rdb_last_bgsave_time_sec", or_minus_one(took_s));
    report.line("rdb_current_bgsave_time_sec", or_minus_one(taking_s));
    report.line("rdb_saves", figures.saves);
    report.line("rdb_last_cow_size", 0);
    report.line("rdb_last_load_keys_expired", figures.load_expired);
    report.line("rdb_last_load_keys_loaded", figures.loaded_keys);
    report.line("aof_enabled", u64::from(figures.is_logging));
    report.line("aof_rewrite_in_progress", u64::from(is_rewriting));
    let is_scheduled = figures.is_save_scheduled && figures.is_logging;
    report.line("aof_rewrite_scheduled", u64::from(is_scheduled));
    let of_log = |time_s: Option<u64>| or_minus_one(time_s.filter(|_| figures.is_logging));
    report.line("aof_last_rewrite_time_sec", of_log(took_s));
    report.line("aof_current_rewrite_time_sec", of_log(taking_s));
    report.line("aof_last_bgrewrite_status", figures.last_save.word());
    let rewrites = if figures.is_logging { figures.saves } else { 0 };
    report.line("aof_rewrites", rewrites);
    report.line("aof_last_write_status", figures.last_write.word());
    report.line("aof_last_cow_size", 0);
    if figures.is_logging {
        of_log_file(report, figures, is_scheduled);
    }
    if figures.is_loading {
        of_loading(report, figures, now_ms);
    }
    if figures.is_on {
        of_this_server(report, figures);
    }
}

fn of_log_file(report: &mut Report, figures: &Figures, is_scheduled: bool) {
    let base = figures.snapshot_bytes;
    report.line("aof_current_size", base + figures.log_bytes);
    report.line("aof_base_size", base);
    report.line("aof_pending_rewrite", u64::from(is_scheduled));
    report.line("aof_buffer_length", figures.buffered_bytes);
    let is_sync_due = figures.unsynced_ms > 0;
    report.line("aof_pending_bio_fsync", u64::from(is_sync_due));
    report.line("aof_delayed_fsync", figures.delays);
}

fn of_loading(report: &mut Report, figures: &Figures, now_ms: u64) {
    report.line("loading_start_time", figures.loading_started_ms / 1000);
    report.line("loading_total_bytes", figures.loading_total_bytes);
    report.line("loading_loaded_bytes", figures.loading_loaded_bytes);
    let percent = figures.loaded_part() * 100.0;
    report.line("loading_loaded_perc", format_args!("{percent:.2}"));
    let left_s = figures.loading_left_ms(now_ms).map(|ms| ms.div_ceil(1000));
    report.line("loading_eta_seconds", or_minus_one(left_s));
}

/// What Redis has no name for.
fn of_this_server(report: &mut Report, figures: &Figures) {
    report.line("durable_writes", figures.admission.word());
    report.line("durable_sync", figures.sync_policy.to_text());
    report.line("durable_unsynced_ms", figures.unsynced_ms);
    report.line("durable_refused_writes", figures.refused_writes);
    report.line("durable_delayed_ms", figures.delayed_ms);
    report.line("durable_loaded_records", figures.loaded_records);
    report.line("durable_load_cut_bytes", figures.load_cut_bytes);
    if let Some((error, time_ms)) = &figures.last_error {
        report.line("durable_last_error", error.escape_debug());
        report.line("durable_last_error_time", time_ms / 1000);
    }
}

/// A number of seconds; -1 where Redis has it for a time that is not known.
fn or_minus_one(seconds: Option<u64>) -> i64 {
    seconds.map_or(-1, |seconds| i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::report;
    use crate::config::SyncPolicy;
    use crate::durability::{Admission, Figures, Outcome};
    use crate::info::Report;
    use std::collections::BTreeMap;

    fn told(figures: &Figures) -> BTreeMap<String, String> {
        let mut text = Report::default();
        report(&mut text, figures, 400, 100_000);
        let lines = text.text.lines().filter_map(|line| line.split_once(':'));
        lines
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    #[test]
    fn a_server_without_directory_tells_what_redis_without_files_tells() {
        let told = told(&Figures::default());
        for (name, value) in [
            ("loading", "0"),
            ("rdb_bgsave_in_progress", "0"),
            ("rdb_last_bgsave_status", "ok"),
            ("rdb_last_bgsave_time_sec", "-1"),
            ("rdb_current_bgsave_time_sec", "-1"),
            ("aof_enabled", "0"),
            ("aof_last_rewrite_time_sec", "-1"),
            ("aof_last_write_status", "ok"),
        ] {
            assert_eq!(told[name], value, "{name}");
        }
        for absent in ["aof_current_size", "loading_eta_seconds", "durable_writes"] {
            assert!(!told.contains_key(absent), "{absent}");
        }
    }

    #[test]
    fn a_snapshot_under_way_is_also_the_logs_rewrite() {
        let mut figures = Figures {
            is_on: true,
            is_logging: true,
            sync_policy: SyncPolicy::EverySec,
            is_saving: true,
            save_started_ms: 93_000,
            saved_keys: 100,
            last_save_duration_ms: Some(2_500),
            snapshot_bytes: 1000,
            log_bytes: 234,
            saves: 3,
            ..Figures::default()
        };
        let with_log = told(&figures);
        for (name, value) in [
            ("rdb_bgsave_in_progress", "1"),
            ("rdb_current_bgsave_time_sec", "7"),
            ("rdb_last_bgsave_time_sec", "2"),
            ("current_fork_perc", "25.00"),
            ("current_save_keys_total", "400"),
            ("aof_rewrite_in_progress", "1"),
            ("aof_current_rewrite_time_sec", "7"),
            ("aof_rewrites", "3"),
            ("aof_current_size", "1234"),
            ("aof_base_size", "1000"),
            ("durable_writes", "open"),
            ("durable_sync", "everysec"),
        ] {
            assert_eq!(with_log[name], value, "{name}");
        }
        figures.is_logging = false;
        let without = told(&figures);
        assert_eq!(without["rdb_bgsave_in_progress"], "1");
        assert_eq!(without["aof_rewrite_in_progress"], "0");
        assert_eq!(without["aof_rewrites"], "0");
        assert!(!without.contains_key("aof_current_size"));
    }

    #[test]
    fn loading_tells_how_far_it_is_and_how_long_it_goes_on() {
        let mut figures = Figures {
            is_on: true,
            is_loading: true,
            loading_started_ms: 91_000,
            loading_total_bytes: 4000,
            loading_loaded_bytes: 3000,
            ..Figures::default()
        };
        let loading = told(&figures);
        for (name, value) in [
            ("loading", "1"),
            ("loading_start_time", "91"),
            ("loading_loaded_perc", "75.00"),
            ("loading_eta_seconds", "3"),
        ] {
            assert_eq!(loading[name], value, "{name}");
        }
        figures.loading_loaded_bytes = 0;
        assert_eq!(told(&figures)["loading_eta_seconds"], "-1");
    }

    #[test]
    fn faults_are_told_on_one_line_each() {
        let told = told(&Figures {
            is_on: true,
            is_logging: true,
            admission: Admission::Refused,
            last_write: Outcome::Failed("no space".to_owned()),
            last_save: Outcome::Failed("no space".to_owned()),
            last_error: Some(("no\r\nspace".to_owned(), 98_765)),
            refused_writes: 5,
            ..Figures::default()
        });
        for (name, value) in [
            ("aof_last_write_status", "err"),
            ("rdb_last_bgsave_status", "err"),
            ("durable_writes", "refused"),
            ("durable_refused_writes", "5"),
            ("durable_last_error", "no\\r\\nspace"),
            ("durable_last_error_time", "98"),
        ] {
            assert_eq!(told[name], value, "{name}");
        }
    }
}
