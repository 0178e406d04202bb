//! Who trains a directory: a lock beside it, `.NAME.trained`, that lives as long as the trainer does.
//!
//! Whoever waits for the next policy in the directory looks at it: a trainer that is gone publishes nothing any more.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{parent_of, resolve, sibling};

/// The claim of a living trainer.
#[derive(Debug)]
pub struct Claim {
    path: PathBuf,
    _lock: File,
}

fn place(dir: &Path) -> Result<PathBuf> {
    Ok(sibling(&resolve(dir)?, "trained"))
}

impl Claim {
    /// Claims the directory, which need not be there yet.
    ///
    /// # Errors
    /// Another living process has claimed it, or its parent cannot be written.
    pub fn take(dir: &Path) -> Result<Claim> {
        let path = place(dir)?;
        let name = || format!("{}", path.display());
        fs::create_dir_all(parent_of(&path)).with_context(name)?;
        let lock = File::options().create(true).append(true).open(&path).with_context(name)?;
        for _ in 0..20 {
            match lock.try_lock() {
                // Without locks nobody can be told: whoever waits then waits.
                Ok(()) | Err(TryLockError::Error(_)) => return Ok(Claim { path, _lock: lock }),
                // It may be somebody who only looks.
                Err(TryLockError::WouldBlock) => sleep(Duration::from_millis(5)),
            }
        }
        bail!("{}: another process trains it at this moment", dir.display())
    }

    /// Whether a living process has claimed the directory.
    ///
    /// # Errors
    /// Not a name for a directory.
    pub fn is_held(dir: &Path) -> Result<bool> {
        let Ok(file) = File::open(place(dir)?) else { return Ok(false) };
        Ok(matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Untidy where it fails, no more.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_seen_while_it_lives() {
        let home = std::env::temp_dir().join(format!("r1-claim-{}", std::process::id()));
        let dir = home.join("a/zero");
        assert!(!Claim::is_held(&dir).unwrap());
        let claim = Claim::take(&dir).unwrap();
        assert!(Claim::is_held(&dir).unwrap());
        fs::create_dir(&dir).unwrap();
        assert!(Claim::is_held(&dir).unwrap(), "the directory came meanwhile");
        assert!(Claim::take(&dir).unwrap_err().to_string().contains("another process trains it"));
        drop(claim);
        assert!(!Claim::is_held(&dir).unwrap());
        // What a kill leaves is a file without a lock.
        fs::write(home.join("a/.zero.trained"), "").unwrap();
        assert!(!Claim::is_held(&dir).unwrap());
        drop(Claim::take(&dir).unwrap());
        assert_eq!(fs::read_dir(home.join("a")).unwrap().count(), 1);
        fs::remove_dir_all(home).unwrap();
    }
}
