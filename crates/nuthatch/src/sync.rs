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
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::{sync::atomic, thread, thread_local};

#[cfg(loom)]
pub(crate) use loom::{sync::atomic, thread, thread_local};
#[cfg(loom)]
pub(crate) use modelled::{Condvar, Mutex, MutexGuard};

/// A cell whose content is reached through raw pointers within a closure, which is what lets loom
/// watch each access begin and end.
#[cfg(not(loom))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Passes a pointer for shared access to `access`, which keeps the aliasing rules.
    #[inline]
    pub(crate) fn with<R>(&self, access: impl FnOnce(*const T) -> R) -> R {
        access(self.0.get().cast_const())
    }

    /// Passes a pointer for exclusive access to `access`, which keeps the aliasing rules.
    #[inline]
    pub(crate) fn with_mut<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0.get())
    }
}

#[cfg(loom)]
pub(crate) use loom::cell::UnsafeCell;

/// `parking_lot`'s interface over loom's locks.
#[cfg(loom)]
mod modelled {
    use std::fmt;
    use std::ops::{Deref, DerefMut};

    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    /// Holds `None` only inside [`Condvar::wait`].
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    pub(crate) struct Condvar(loom::sync::Condvar);

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

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
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
