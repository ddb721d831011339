//! The file itself: what it holds, by a hash, and whether it is still the same.
//!
//! A file is read several times (hashed, checked, imported), so it must be one that can be, and must not change meanwhile.
//! Its size, inode and times of change tell early, its hash for certain.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::SourceError;

/// A regular file whose content is known.
#[derive(Clone, Debug)]
pub struct Input {
    path: PathBuf,
    content: [u8; 32],
    stamp: Stamp,
}

/// What changes with a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Input {
    /// Reads a file to its end. What is no regular file cannot be read twice and is refused.
    pub fn read(path: &Path) -> Result<Input, SourceError> {
        let failed = |error: std::io::Error| refused(path, error.to_string());
        let metadata = std::fs::metadata(path).map_err(|error| match path.as_os_str() == "-" {
            true => refused(path, "standard input cannot be imported: write it to a file first, for it is read twice"),
            false => failed(error),
        })?;
        if metadata.is_dir() {
            return Err(refused(path, "is a directory: name one of its files"));
        }
        if !metadata.is_file() {
            let error = "is a pipe or a device, and a file is read twice, once to check it: write it to a file first";
            return Err(refused(path, error));
        }
        let (content, stamp) = content(path)?;
        let input = Input { path: path.to_owned(), content, stamp };
        input.check()?;
        Ok(input)
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, without the directories.
    pub fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        name.to_string_lossy().into_owned()
    }

    /// SHA-256 of its content.
    pub fn content(&self) -> &[u8; 32] {
        &self.content
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// Checks, at the cost of a look at its metadata, that it has not changed.
    pub fn check(&self) -> Result<(), SourceError> {
        let metadata = std::fs::metadata(&self.path).map_err(|error| refused(&self.path, error.to_string()))?;
        match Stamp::of(&metadata) == self.stamp {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    /// Checks, at the cost of reading it, that its content is still the same.
    pub fn check_content(&self) -> Result<(), SourceError> {
        match content(&self.path)? == (self.content, self.stamp) {
            true => Ok(()),
            false => Err(self.changed()),
        }
    }

    fn changed(&self) -> SourceError {
        refused(&self.path, "changes while it is read: import it when it is complete")
    }
}

fn refused(path: &Path, error: impl Into<String>) -> SourceError {
    SourceError::File { path: path.display().to_string(), error: error.into() }
}

fn content(path: &Path) -> Result<([u8; 32], Stamp), SourceError> {
    let failed = |error: std::io::Error| refused(path, error.to_string());
    let mut file = File::open(path).map_err(failed)?;
    let stamp = Stamp::of(&file.metadata().map_err(failed)?);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok((hash.finalize().into(), stamp)),
            read => hash.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changes_is_noticed_early_or_by_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "a").unwrap();
        let input = Input::read(&path).unwrap();
        assert!(input.check().is_ok() && input.check_content().is_ok());
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        std::fs::write(&path, "b").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
        let error = input.check_content().unwrap_err().to_string();
        assert!(error.ends_with("a.csv: changes while it is read: import it when it is complete"), "{error}");
        std::fs::write(&path, "a longer one").unwrap();
        assert!(input.check().is_err());
        std::fs::remove_file(&path).unwrap();
        assert!(input.check().unwrap_err().to_string().contains("No such file"));
    }

    #[test]
    fn what_cannot_be_read_twice_is_refused_with_the_remedy() {
        let error = |path: &str| Input::read(Path::new(path)).unwrap_err().to_string();
        assert!(error("/").contains("name one of its files"), "{}", error("/"));
        assert!(error("/dev/null").contains("write it to a file first"), "{}", error("/dev/null"));
        assert!(error("-").contains("write it to a file first"), "{}", error("-"));
    }
}
