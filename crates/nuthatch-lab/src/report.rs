//! The performance analysis: everything measured, drawn and explained in one document.
//!
//! A [`Plan`] lists the measurements, each a command of the laboratory that anyone can repeat. They
//! run one after the other in processes of their own, so that none inherits another's heap, and one
//! that fails takes nothing with it; the rows of each are kept in a [`Record`] as soon as it ends.
//! From the record alone the [`Document`] is written, as Markdown and as one HTML file.

mod chapters;
mod compare;
mod document;
mod machine;
mod plan;
mod record;
mod results;
mod run;

pub use chapters::document;
pub use compare::{Change, Comparison};
pub use document::{Document, Figure};
pub use machine::Machine;
pub use plan::{Part, Plan, Scale, Unit};
pub use record::{About, Finished, Record, RecordError};
pub use results::{Results, UnreadableRow};
pub use run::{RunError, run};
