//! What is on disk, as metrics. All are there whether or not anything is kept, so that a dashboard finds its
//! series.

use super::{Writer, seconds as of_ns};
use crate::durability::{Admission, Figures, Outcome};
use prometheus_client::registry::Unit;
use std::fmt;

/// Writes these figures.
pub(super) fn write(writer: &mut Writer<'_>, figures: &Figures) -> fmt::Result {
    writer.level(
        "durability_enabled",
        "Whether anything is kept on disk.",
        None,
        u64::from(figures.is_on),
    )?;
    loading(writer, figures)?;
    snapshots(writer, figures)?;
    log(writer, figures)?;
    writes(writer, figures)
}

fn loading(writer: &mut Writer<'_>, figures: &Figures) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    let levels = [
        (
            "loading",
            "Whether what is on disk is being loaded.",
            None,
            u64::from(figures.is_loading),
        ),
        (
            "load_expected",
            "Bytes on disk when loading began.",
            bytes,
            figures.loading_total_bytes,
        ),
        (
            "load_read",
            "Bytes of them that were loaded.",
            bytes,
            figures.loading_loaded_bytes,
        ),
        (
            "loaded_keys",
            "Keys there were when loading had ended.",
            None,
            figures.loaded_keys,
        ),
        (
            "load_expired_keys",
            "Keys that were left out of loading because their time was over.",
            None,
            figures.load_expired,
        ),
        (
            "load_cut",
            "Bytes of the log's torn end that were cut off at the start.",
            bytes,
            figures.load_cut_bytes,
        ),
    ];
    for (name, help, unit, value) in levels {
        writer.level(name, help, unit, value)?;
    }
    writer.time(
        "load_duration",
        "How long loading took; 0 before its end.",
        of_ms(figures.load_ms),
    )
}

fn snapshots(writer: &mut Writer<'_>, figures: &Figures) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    writer.count("snapshots", "Snapshots written.", None, figures.saves)?;
    let levels = [
        (
            "snapshot_in_progress",
            "Whether a snapshot is being written.",
            None,
            u64::from(figures.is_saving),
        ),
        (
            "snapshot_in_progress_keys",
            "Keys that it has come by.",
            None,
            figures.saved_keys,
        ),
        (
            "snapshot_in_progress_size",
            "Bytes of it that are written.",
            bytes,
            figures.saved_bytes,
        ),
        (
            "snapshot_size",
            "The last snapshot.",
            bytes,
            figures.snapshot_bytes,
        ),
        (
            "snapshot_failed",
            "Whether the last attempt to write one has failed.",
            None,
            has_failed(&figures.last_save),
        ),
        (
            "snapshot_changes_since",
            "Changes since the last snapshot was begun.",
            None,
            figures.changes_since_save,
        ),
    ];
    for (name, help, unit, value) in levels {
        writer.level(name, help, unit, value)?;
    }
    writer.time(
        "snapshot_duration",
        "How long the last snapshot took; 0 if there was none.",
        of_ms(figures.last_save_duration_ms.unwrap_or(0)),
    )?;
    writer.time(
        "snapshot_last_success_timestamp",
        "When the last snapshot ended that succeeded, since 1970; the server's start if there was none.",
        of_ms(figures.last_save_ms),
    )
}

fn log(writer: &mut Writer<'_>, figures: &Figures) -> fmt::Result {
    let bytes = Some(&Unit::Bytes);
    let counts = [
        (
            "log_written",
            "Bytes written to the log.",
            bytes,
            figures.log_written_bytes,
        ),
        (
            "log_records",
            "Changes written to the log.",
            None,
            figures.log_records,
        ),
        (
            "log_syncs",
            "Times that the log was synced.",
            None,
            figures.syncs,
        ),
    ];
    for (name, help, unit, value) in counts {
        writer.count(name, help, unit, value)?;
    }
    writer.count_time(
        "log_sync",
        "Time that syncs of the log took.",
        of_ns(figures.sync_ns),
    )?;
    writer.time(
        "log_sync_longest",
        "The longest sync of the last ten seconds or so.",
        of_ns(figures.sync_max_ns),
    )?;
    let levels = [
        ("log_size", "The log on disk.", bytes, figures.log_bytes),
        (
            "log_buffered",
            "What waits to be written to the log.",
            bytes,
            figures.buffered_bytes,
        ),
        (
            "log_failed",
            "Whether the last write or sync of the log has failed.",
            None,
            has_failed(&figures.last_write),
        ),
    ];
    for (name, help, unit, value) in levels {
        writer.level(name, help, unit, value)?;
    }
    writer.time(
        "log_unsynced",
        "Age of the oldest change that is not synced.",
        of_ms(figures.unsynced_ms),
    )
}

fn writes(writer: &mut Writer<'_>, figures: &Figures) -> fmt::Result {
    let states = Admission::ALL.map(|state| {
        let is_it = state == figures.admission;
        ([("state", state.word())], u64::from(is_it))
    });
    writer.gauge(
        "write_admission",
        "What writes meet: 1 for the state that holds. They are taken, wait for the disk, are refused for \
         its failure, or are taken and not kept.",
        None,
        states,
    )?;
    writer.count(
        "writes_delayed",
        "Times that writes had to wait for the disk.",
        None,
        figures.delays,
    )?;
    writer.count_time(
        "write_delay",
        "How long writes had to wait for the disk.",
        of_ms(figures.delayed_ms),
    )?;
    writer.count(
        "writes_refused",
        "Writes refused because the disk had failed.",
        None,
        figures.refused_writes,
    )?;
    let error_ms = figures
        .last_error
        .as_ref()
        .map_or(0, |(_, time_ms)| *time_ms);
    writer.time(
        "disk_last_error_timestamp",
        "When the disk failed last, since 1970; 0 for never.",
        of_ms(error_ms),
    )
}

fn of_ms(ms: u64) -> f64 {
    ms as f64 / 1e3
}

fn has_failed(outcome: &Outcome) -> u64 {
    u64::from(*outcome != Outcome::Well)
}
