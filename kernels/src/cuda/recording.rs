//! Recordings: work that is put together once and queued again by one call, over the same memory (on a card a CUDA graph).
//!
//! What is queued while a recording is made does not run. Memory taken meanwhile belongs to the recording and is given back
//! with it, so no buffer made within may outlive the making; results go to buffers that were there before. Nothing within may
//! wait for the device or bring values of the host. Whoever replays sees to it that all memory it was made over is still there.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Device, Error};

/// Work that can be queued again.
pub struct Recording {
    device: Device,
    handle: u64,
    blocks: Vec<(u64, usize)>,
}

impl Recording {
    /// Queues the work.
    ///
    /// # Errors
    /// The device refused.
    pub fn replay(&self, op: &'static str) -> Result<(), Error> {
        self.device.backing.replay(op, self.handle)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.device.backing.forget(self.handle);
        self.blocks.iter().for_each(|&(at, bytes)| self.device.give(at, bytes));
    }
}

impl Device {
    /// Records what `work` queues. Nobody else may use the device meanwhile.
    ///
    /// # Errors
    /// The work's, or the device refused.
    ///
    /// # Panics
    /// A recording within a recording; or a buffer of the recording outlives `work`.
    pub fn record<E: From<Error>>(
        &self,
        op: &'static str,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Recording, E> {
        let backing = &self.backing;
        backing.room().open(op);
        let made = match backing.begin(op) {
            Err(e) => Err(e.into()),
            Ok(()) => match (work(), backing.end(op)) {
                (Ok(()), end) => end.map_err(E::from),
                (Err(e), end) => {
                    end.into_iter().for_each(|handle| backing.forget(handle));
                    Err(e)
                }
            },
        };
        let blocks = backing.room().close(op);
        match made {
            Ok(handle) => Ok(Recording { device: self.clone(), handle, blocks }),
            Err(e) => {
                blocks.into_iter().for_each(|(at, bytes)| self.give(at, bytes));
                Err(e)
            }
        }
    }

    /// Refuses what a recording cannot hold.
    pub(super) fn not_recorded(&self, op: &'static str) -> Result<(), Error> {
        if self.backing.room().is_open() {
            return Err(Error::failed(
                op,
                "a recording neither waits for the device nor brings values of the host",
            ));
        }
        Ok(())
    }
}

/// The memory of the recording that is being made.
#[derive(Default)]
pub(crate) struct Room(Mutex<Option<Blocks>>);

#[derive(Default)]
struct Blocks {
    all: HashMap<u64, usize>,
    /// by size; work is in order, so a freed block may be used again at once
    free: HashMap<usize, Vec<u64>>,
}

impl Room {
    fn blocks(&self) -> MutexGuard<'_, Option<Blocks>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, op: &str) {
        let before = self.blocks().replace(Blocks::default());
        assert!(before.is_none(), "{op}: a recording within a recording");
    }

    fn close(&self, op: &str) -> Vec<(u64, usize)> {
        let Some(blocks) = self.blocks().take() else { return Vec::new() };
        let free: usize = blocks.free.values().map(Vec::len).sum();
        assert_eq!(free, blocks.all.len(), "{op}: buffers of a recording outlive its making");
        blocks.all.into_iter().collect()
    }

    fn is_open(&self) -> bool {
        self.blocks().is_some()
    }

    /// A block of the recording that is free again.
    pub fn take(&self, bytes: usize) -> Option<u64> {
        self.blocks().as_mut()?.free.get_mut(&bytes)?.pop()
    }

    /// A block that was just taken belongs to the recording.
    pub fn keep(&self, at: u64, bytes: usize) {
        if let Some(blocks) = &mut *self.blocks() {
            blocks.all.insert(at, bytes);
        }
    }

    /// Whether a block that is given back stays with the recording.
    pub fn give(&self, at: u64, bytes: usize) -> bool {
        match &mut *self.blocks() {
            Some(blocks) if blocks.all.contains_key(&at) => {
                blocks.free.entry(bytes).or_default().push(at);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cuda::testing::{each_device, on};
    use crate::cuda::{Buffer, Error};
    use crate::linear::cuda as linear;

    #[test]
    fn a_recording_is_the_work_again() {
        each_device(|device| {
            let (mut x, w) = (on(device, &[1f32, 2.0]), on(device, &[3f32, 4.0, 5.0, 6.0]));
            let mut y = on(device, &[0f32; 2]);
            let mut whole = on(device, &[0f32; 2]);
            // y += W·(2x): one block within, used twice.
            let work = |y: &mut Buffer<f32>| -> Result<(), Error> {
                for _ in 0..2 {
                    let mut middle = Buffer::<f32>::zeros(device, "test", 2)?;
                    linear::add(device, middle.all_mut(), x.all())?;
                    linear::forward_add(device, middle.all(), w.all(), 2, 2, y.all_mut())?;
                }
                whole.all_mut().copy_from("test", y.all())
            };
            let recording = device.record("test", {
                let mut work = work;
                let y = &mut y;
                move || work(y)
            });
            let recording = recording.unwrap();
            assert_eq!(y.download("test").unwrap(), [0.0, 0.0], "nothing runs while it is recorded");
            assert_eq!(recording.blocks.len(), 1);
            recording.replay("test").unwrap();
            assert_eq!(whole.download("test").unwrap(), [22.0, 34.0]);
            x.all_mut().upload("test", &[0.5, 0.0]).unwrap();
            recording.replay("test").unwrap();
            recording.replay("test").unwrap();
            assert_eq!(whole.download("test").unwrap(), [28.0, 44.0]);
        });
    }

    #[test]
    fn what_waits_is_not_recorded() {
        each_device(|device| {
            let x = on(device, &[1f32]);
            let error = device.record("test", || x.download("test").map(|_| ())).err().unwrap();
            assert!(error.to_string().contains("neither waits"), "{error}");
            let error =
                device.record("test", || Buffer::of(device, "test", &[1f32]).map(|_| ())).err().unwrap();
            assert!(error.to_string().contains("neither waits"), "{error}");
            // And the device is as before.
            assert_eq!(x.download("test").unwrap(), [1.0]);
        });
    }
}
