//! A directory's promises, on the simulated disk: what is recovered is what was written, up to some point
//! that is not before what was synced, whatever crashes, fails, tears or gets damaged.

mod crashes;
mod damage;
mod format;
mod model;
mod writing;
