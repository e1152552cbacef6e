//! The synchronisation that a model checker can replace: `std` and `parking_lot` in every build,
//! [loom](https://docs.rs/loom) under `--cfg loom`.
//!
//! Code whose interleavings are modelled takes its atomics, locks and threads from here and from
//! nowhere else; a `std` atomic in such code would be invisible to loom, and the model would prove
//! nothing. The loom side mirrors the part of `parking_lot`'s interface that the crate uses. Two
//! differences remain for the users of this module to bear: loom's atomics have no `const` `new`,
//! and `get_mut` on them is `with_mut`.
//!
//! Run the models with
//! `RUSTFLAGS="--cfg loom" cargo test -p nuthatch --lib model`.

#[cfg(not(loom))]
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard};
#[cfg(not(loom))]
pub(crate) use std::{sync::atomic, thread_local};

#[cfg(all(test, loom))]
pub(crate) use loom::thread;
#[cfg(loom)]
pub(crate) use loom::{cell::UnsafeCell, sync::atomic, thread_local};
#[cfg(loom)]
pub(crate) use modelled::{Condvar, Mutex, MutexGuard, RwLock, RwLockWriteGuard};

/// `parking_lot`'s interface over loom's locks.
#[cfg(loom)]
mod modelled {
    use std::fmt;
    use std::ops::{Deref, DerefMut};

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    /// Holds `None` only inside [`Condvar::wait`].
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    pub(crate) struct Condvar(loom::sync::Condvar);

    pub(crate) struct RwLock<T>(loom::sync::RwLock<T>);

    pub(crate) use loom::sync::{RwLockReadGuard, RwLockWriteGuard};

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            let guard = self.0.lock();
            MutexGuard(Some(guard.unwrap_or_else(|poisoned| poisoned.into_inner())))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok().map(|guard| MutexGuard(Some(guard)))
        }
    }

    impl<T> fmt::Debug for Mutex<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Mutex").finish_non_exhaustive()
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0
                .as_ref()
                .expect("a guard outside of wait holds its lock")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0
                .as_mut()
                .expect("a guard outside of wait holds its lock")
        }
    }

    impl<T> RwLock<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::RwLock::new(value))
        }

        pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0
                .read()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(crate) fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0
                .write()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }

        pub(crate) fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
            self.0.try_write().ok()
        }

        pub(crate) fn get_mut(&mut self) -> &mut T {
            self.0
                .get_mut()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
        }
    }

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self(loom::sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard
                .0
                .take()
                .expect("a guard outside of wait holds its lock");
            let held = self.0.wait(held);
            guard.0 = Some(held.unwrap_or_else(|poisoned| poisoned.into_inner()));
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }
    }

    impl fmt::Debug for Condvar {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Condvar").finish_non_exhaustive()
        }
    }

    impl Default for Condvar {
        fn default() -> Self {
            Self::new()
        }
    }
}
