//! Recordings: work that is put together once and queued again by one call, over the same memory (on a card a CUDA graph).
//!
//! What is queued while a recording is made does not run. Memory taken meanwhile is a [`Pool`]'s, whose recordings use it one after
//! another, so no buffer made within may outlive the making; results go to buffers that were there before. Nothing within may
//! wait for the device or bring values of the host. Whoever replays sees to it that all memory it was made over is still there.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Device, Error};

/// Work that can be queued again.
pub struct Recording {
    device: Device,
    handle: u64,
    _pool: Pool,
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
    }
}

/// The memory that recordings work in, together about as much as the largest of them needs; given back with the last of them. Clones
/// are the same pool.
#[derive(Clone)]
pub struct Pool(Arc<Blocks>);

struct Blocks {
    device: Device,
    lists: Mutex<Lists>,
}

#[derive(Default)]
struct Lists {
    sizes: HashMap<u64, usize>,
    /// by size; work is in order, so a freed block may be used again at once
    free: BTreeMap<usize, Vec<u64>>,
}

/// A block serves what is at least this part of it: recordings of half as many rows find those of larger ones.
const PART: usize = 4;

impl Pool {
    /// An empty one.
    pub fn of(device: &Device) -> Pool {
        Pool(Arc::new(Blocks { device: device.clone(), lists: Mutex::default() }))
    }

    /// Bytes that it has.
    pub fn bytes(&self) -> usize {
        self.lists().sizes.values().sum()
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free block for so many bytes.
    fn take(&self, bytes: usize) -> Option<u64> {
        let mut lists = self.lists();
        let (&size, blocks) = lists.free.range_mut(bytes..=bytes.saturating_mul(PART)).next()?;
        let at = blocks.pop();
        if blocks.is_empty() {
            lists.free.remove(&size);
        }
        at
    }

    /// Whether a block that is given back is one of its own.
    fn give(&self, at: u64) -> bool {
        let mut lists = self.lists();
        let Some(&size) = lists.sizes.get(&at) else { return false };
        lists.free.entry(size).or_default().push(at);
        true
    }

    fn is_at_rest(&self) -> bool {
        let lists = self.lists();
        lists.free.values().map(Vec::len).sum::<usize>() == lists.sizes.len()
    }
}

impl Drop for Blocks {
    fn drop(&mut self) {
        let lists = self.lists.get_mut().unwrap_or_else(PoisonError::into_inner);
        lists.sizes.drain().for_each(|(at, bytes)| self.device.give(at, bytes));
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
        pool: &Pool,
        work: impl FnOnce() -> Result<(), E>,
    ) -> Result<Recording, E> {
        let backing = &self.backing;
        backing.room().open(op, pool);
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
        backing.room().close(op);
        made.map(|handle| Recording { device: self.clone(), handle, _pool: pool.clone() })
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

/// The pool of the recording that is being made.
#[derive(Default)]
pub(crate) struct Room(Mutex<Option<Pool>>);

impl Room {
    fn pool(&self) -> MutexGuard<'_, Option<Pool>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self, op: &str, pool: &Pool) {
        let before = self.pool().replace(pool.clone());
        assert!(before.is_none(), "{op}: a recording within a recording");
    }

    fn close(&self, op: &str) {
        let pool = self.pool().take();
        let at_rest = pool.is_none_or(|pool| pool.is_at_rest());
        assert!(at_rest, "{op}: buffers of a recording outlive its making");
    }

    fn is_open(&self) -> bool {
        self.pool().is_some()
    }

    /// A block that the recording may use.
    pub fn take(&self, bytes: usize) -> Option<u64> {
        self.pool().as_ref()?.take(bytes)
    }

    /// A block that was just taken belongs to the recording's pool.
    pub fn keep(&self, at: u64, bytes: usize) {
        if let Some(pool) = &*self.pool() {
            pool.lists().sizes.insert(at, bytes);
        }
    }

    /// Whether a block that is given back stays with the recording's pool.
    pub fn give(&self, at: u64) -> bool {
        self.pool().as_ref().is_some_and(|pool| pool.give(at))
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;
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
            let pool = Pool::of(device);
            let recording = device.record("test", &pool, {
                let mut work = work;
                let y = &mut y;
                move || work(y)
            });
            let recording = recording.unwrap();
            assert_eq!(y.download("test").unwrap(), [0.0, 0.0], "nothing runs while it is recorded");
            assert_eq!(pool.bytes(), 8);
            recording.replay("test").unwrap();
            assert_eq!(whole.download("test").unwrap(), [22.0, 34.0]);
            x.all_mut().upload("test", &[0.5, 0.0]).unwrap();
            recording.replay("test").unwrap();
            recording.replay("test").unwrap();
            assert_eq!(whole.download("test").unwrap(), [28.0, 44.0]);
        });
    }

    #[test]
    fn recordings_of_a_pool_share_its_memory() {
        each_device(|device| {
            let pool = Pool::of(device);
            let record = |n: usize, by: f32| {
                let (from, mut to) = (on(device, &vec![by; n]), on(device, &vec![0f32; n]));
                let recording = device.record("test", &pool, || -> Result<(), Error> {
                    let mut middle = Buffer::<f32>::zeros(device, "test", n)?;
                    let least = Buffer::<f32>::zeros(device, "test", 1)?;
                    linear::add(device, middle.all_mut(), from.all())?;
                    drop(least);
                    to.all_mut().copy_from("test", middle.all())
                });
                (recording.unwrap(), from, to)
            };
            let large = record(64, 3.0);
            assert_eq!(pool.bytes(), 4 * (64 + 1));
            // Half as many fit into the same block, a sixteenth would waste it.
            let half = record(32, 5.0);
            assert_eq!(pool.bytes(), 4 * (64 + 1));
            let few = record(4, 7.0);
            assert_eq!(pool.bytes(), 4 * (64 + 4 + 1));
            for _ in 0..2 {
                for (recording, from, to) in [&large, &half, &few] {
                    recording.replay("test").unwrap();
                    assert_eq!(to.download("test").unwrap(), from.download("test").unwrap());
                }
            }
            let (held, _) = device.memory().unwrap();
            drop(pool);
            large.0.replay("test").unwrap();
            assert_eq!(large.2.download("test").unwrap(), [3.0; 64]);
            drop((large, half, few));
            assert!(device.memory().unwrap().0 > held);
        });
    }

    #[test]
    fn what_waits_is_not_recorded() {
        each_device(|device| {
            let x = on(device, &[1f32]);
            let error =
                device.record("test", &Pool::of(device), || x.download("test").map(|_| ())).err().unwrap();
            assert!(error.to_string().contains("neither waits"), "{error}");
            let brought = || Buffer::of(device, "test", &[1f32]).map(|_| ());
            let error = device.record("test", &Pool::of(device), brought).err().unwrap();
            assert!(error.to_string().contains("neither waits"), "{error}");
            // And the device is as before.
            assert_eq!(x.download("test").unwrap(), [1.0]);
        });
    }
}
