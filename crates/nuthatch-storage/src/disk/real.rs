//! A directory of the file system.
//!
//! Files are opened for appending, so there is no place in them to keep, and every write goes to the end also
//! after one that stopped half way. Nobody but the owner may read what is created here: values are as secret
//! as the server that had them.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::{Claim, Disk, DiskFile};

/// The file that is locked while a process has the directory. It has no content, and is never removed: a
/// process that waited for the removed one would share the directory with the maker of the next.
const LOCK: &str = "lock";

/// A directory of the file system.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Held open, so that no error of writing its names back is told to another handle, and missed here.
    handle: File,
}

impl Directory {
    /// The directory at `path`, which is created for its owner alone if it is missing, as are its parents.
    ///
    /// # Errors
    ///
    /// If it can be neither opened nor created, or is not a directory.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let explain = |what: &str, error: io::Error| {
            let path = path.display();
            io::Error::new(
                error.kind(),
                format!("cannot {what} directory {path}: {error}"),
            )
        };
        if !path.is_dir() {
            create_directories(&path).map_err(|error| explain("create", error))?;
        }
        let handle = File::open(&path).map_err(|error| explain("open", error))?;
        Ok(Self { path, handle })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn append_options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.append(true).mode(0o600);
        options
    }
}

/// Creates a directory and its missing parents, each durably named in its own parent.
fn create_directories(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if !parent.is_dir() {
        create_directories(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        // Another process may have been faster.
        Err(_) if path.is_dir() => {}
        created => created?,
    }
    File::open(parent)?.sync_all()
}

impl Disk for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is not UTF-8 is none of ours, and only ever shown to people.
            let name = entry.file_name().to_string_lossy().into_owned();
            if name != LOCK && !entry.file_type()?.is_dir() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = Self::append_options()
            .create_new(true)
            .open(self.path.join(name))?;
        Ok(Box::new(AppendedFile { file }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let file = Self::append_options().open(self.path.join(name))?;
        Ok(Box::new(AppendedFile { file }))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(File::open(self.path.join(name))?))
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path.join(name))?.len())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path.join(from), self.path.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn lock(&self) -> io::Result<Option<Box<dyn Claim>>> {
        let path = self.path.join(LOCK);
        let explain = |what: &str, error: io::Error| {
            let path = path.display();
            io::Error::new(error.kind(), format!("cannot {what} {path}: {error}"))
        };
        let file = Self::append_options()
            .create(true)
            .open(&path)
            .map_err(|error| explain("open", error))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(LockedFile { _file: file }))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(explain("lock", error)),
        }
    }
}

#[derive(Debug)]
struct AppendedFile {
    file: File,
}

impl DiskFile for AppendedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Also makes the length last, which is needed to read the data again; only the file's times are not.
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

/// The system unlocks it when it is closed, thus also when the process is killed.
#[derive(Debug)]
struct LockedFile {
    _file: File,
}

impl Claim for LockedFile {}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn directory() -> (TempDir, Directory) {
        let parent = tempfile::tempdir().unwrap();
        let directory = Directory::open(parent.path().join("data")).unwrap();
        (parent, directory)
    }

    fn content(disk: &dyn Disk, name: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        disk.read(name).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn mode(path: impl AsRef<Path>) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn missing_directories_are_created_for_their_owner_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a").join("b");
        let directory = Directory::open(&path).unwrap();
        assert_eq!(directory.path(), path);
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(parent.path().join("a")), 0o700);

        fs::write(path.join("kept"), "x").unwrap();
        assert_eq!(Directory::open(&path).unwrap().names().unwrap(), ["kept"]);
    }

    #[test]
    fn path_that_is_a_file_is_refused_by_its_name() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("data");
        fs::write(&path, "x").unwrap();
        let error = Directory::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }

    #[test]
    fn files_are_created_once_and_for_their_owner_alone() {
        let (_parent, disk) = directory();
        disk.create("a").unwrap();
        assert_eq!(mode(disk.path().join("a")), 0o600);
        let again = disk.create("a").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(disk.open("b").unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_is_appended_is_read_also_after_opening_again_and_after_a_cut() {
        let (_parent, disk) = directory();
        let mut file = disk.create("a").unwrap();
        file.append(b"one").unwrap();
        file.append(b"two").unwrap();
        file.sync().unwrap();
        drop(file);
        let mut file = disk.open("a").unwrap();
        file.append(b"three").unwrap();
        assert_eq!(content(&disk, "a"), b"onetwothree");
        file.truncate(4).unwrap();
        file.append(b"!").unwrap();
        file.sync().unwrap();
        assert_eq!(content(&disk, "a"), b"onet!");
        assert_eq!(disk.len("a").unwrap(), 5);
    }

    #[test]
    fn names_are_those_of_files_without_the_lock() {
        let (_parent, disk) = directory();
        let _claim = disk.lock().unwrap().unwrap();
        fs::create_dir(disk.path().join("folder")).unwrap();
        for name in ["a", "b", "c"] {
            disk.create(name).unwrap().append(name.as_bytes()).unwrap();
        }
        disk.rename("a", "d").unwrap();
        disk.rename("b", "c").unwrap();
        disk.sync_names().unwrap();
        let mut names = disk.names().unwrap();
        names.sort_unstable();
        assert_eq!(names, ["c", "d"]);
        assert_eq!(content(&disk, "c"), b"b");
        disk.remove("c").unwrap();
        assert_eq!(disk.names().unwrap(), ["d"]);
        assert_eq!(
            disk.remove("c").unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn one_at_a_time_has_the_claim() {
        let (_parent, disk) = directory();
        let claim = disk.lock().unwrap().unwrap();
        assert!(disk.lock().unwrap().is_none());
        assert!(
            Directory::open(disk.path())
                .unwrap()
                .lock()
                .unwrap()
                .is_none()
        );
        drop(claim);
        assert!(disk.lock().unwrap().is_some());
    }

    #[test]
    fn lock_that_cannot_be_opened_is_an_error_with_its_path() {
        let (_parent, disk) = directory();
        fs::create_dir(disk.path().join(LOCK)).unwrap();
        let error = disk.lock().unwrap_err();
        assert!(error.to_string().contains("data/lock"), "{error}");
    }

    #[test]
    fn directory_without_the_permission_to_write_refuses_claims_and_files() {
        let (_parent, disk) = directory();
        fs::set_permissions(disk.path(), PermissionsExt::from_mode(0o500)).unwrap();
        if fs::write(disk.path().join("probe"), "").is_ok() {
            // The superuser may write everywhere.
            return;
        }
        let refused = disk.lock().unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert!(refused.to_string().contains("data/lock"), "{refused}");
        let refused = disk.create("a").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(disk.names().unwrap(), [""; 0]);
    }
}
