//! The host's side of a card, held to imitations of NVIDIA's libraries (imitation/libraries.cpp): contexts, memory, modules, launches, and the
//! products' operands, strides and transpositions, against the emulated card.
#![cfg(all(feature = "cuda", target_arch = "x86_64", target_os = "linux"))]

use std::ffi::CString;
use std::path::Path;
use std::process::Command;

use r1_kernels::attention::cuda::{Cache, Plan, Rows};
use r1_kernels::attention::{Segment, Shape};
use r1_kernels::cuda::{Buffer, Device, Error, Float, Pool};
use r1_kernels::{attention, linear, norm, rmsnorm};

fn floats(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7919 + 13) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn halves(n: usize) -> Vec<u16> {
    floats(n).into_iter().map(u16::narrow).collect()
}

/// Compiles the imitations into `folder` and opens them under the libraries' names.
fn imitate(folder: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/imitation/libraries.cpp");
    for name in ["libcuda.so.1", "libnvrtc.so.13", "libcublasLt.so.13"] {
        let (library, soname) = (folder.join(name), format!("-Wl,-soname,{name}"));
        let flags = ["-std=c++17", "-O2", "-shared", "-fPIC", "-w", "-Wl,-Bsymbolic"];
        let made = Command::new("g++").args(flags).args([&soname, "-o"]).arg(&library).arg(source).status();
        assert!(made.expect("g++ was found before").success());
        let path = CString::new(library.into_os_string().into_encoded_bytes()).unwrap();
        // SAFETY: a library that was just made, opened for good.
        assert!(!unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) }.is_null());
    }
}

/// All results of some work, bit for bit.
fn work(d: &Device) -> Result<Vec<Vec<u32>>, Error> {
    let mut results: Vec<Vec<u32>> = Vec::new();
    let mut keep = |values: Vec<f32>| results.push(values.into_iter().map(f32::to_bits).collect());
    let (m, n, k) = (6, 10, 8);
    let (x, w, dy) = (floats(m * k), floats(n * k), floats(m * n));
    let (x32, w32, dy32) = (Buffer::of(d, "t", &x)?, Buffer::of(d, "t", &w)?, Buffer::of(d, "t", &dy)?);
    let bias = Buffer::of(d, "t", &floats(n))?;
    let (mut y, mut dx) = (Buffer::of(d, "t", &dy)?, Buffer::of(d, "t", &x)?);
    let mut dw = Buffer::of(d, "t", &w)?;
    linear::cuda::forward(d, x32.all(), w32.all(), n, k, Some(bias.all()), y.all_mut())?;
    keep(y.download("t")?);
    linear::cuda::forward_add(d, x32.all(), w32.all(), n, k, y.all_mut())?;
    keep(y.download("t")?);
    linear::cuda::backward_input(d, dy32.all(), w32.all(), n, k, dx.all_mut(), true)?;
    keep(dx.download("t")?);
    linear::cuda::backward_weight(d, dy32.all(), x32.all(), n, k, dw.all_mut())?;
    keep(dw.download("t")?);
    let (x16, w16) = (Buffer::of(d, "t", &halves(m * k))?, Buffer::of(d, "t", &halves(n * k))?);
    let mut y16 = Buffer::<u16>::zeros(d, "t", m * n)?;
    linear::cuda::forward(d, x16.all(), w16.all(), n, k, None, y16.all_mut())?;
    keep(y16.download("t")?.into_iter().map(Float::widen).collect());
    // A part of a buffer, at an odd place.
    linear::cuda::forward(d, x32.part(k..3 * k), w32.part(k..3 * k), 2, k, None, y.part_mut(1..5))?;
    keep(y.download("t")?);

    let (mut normed, mut rstd) = (Buffer::<u16>::zeros(d, "t", m * k)?, Buffer::<f32>::zeros(d, "t", m)?);
    rmsnorm::cuda::forward(d, x32.all(), x32.part(0..k), 1e-6, normed.all_mut(), rstd.all_mut())?;
    keep(normed.download("t")?.into_iter().map(Float::widen).collect());
    keep(norm::cuda::sums_of_squares(d, &[x32.all(), w32.all()])?.into_iter().map(|x| x as f32).collect());

    // More shared memory than a block has without asking.
    let s = Shape { heads: 2, kv_heads: 1, dk: 128, dv: 128, scale: 0.1 };
    let rows = 20;
    let (q, kv) = (Buffer::of(d, "t", &halves(rows * 256))?, Buffer::of(d, "t", &halves(rows * 128))?);
    let (mut out, mut lse) =
        (Buffer::<u16>::zeros(d, "t", rows * 256)?, Buffer::<f32>::zeros(d, "t", rows * 2)?);
    let plan = Plan::of(d, &[Segment { queries: 0..rows, path: (0..rows as u32).collect() }])?;
    attention::cuda::forward(d, q.all(), kv.all(), kv.all(), &plan, s, out.all_mut(), lse.all_mut())?;
    keep(out.download("t")?.into_iter().map(Float::widen).collect());
    keep(lse.download("t")?);
    let mut cache = Cache::<u16>::with_pages(d, 3, s)?;
    let places = Buffer::of(d, "t", &(0..rows as u32).map(|i| 32 + i).collect::<Vec<_>>())?;
    cache.write_rows(places.all(), kv.all(), kv.all())?;
    cache.copy_page(1, 2, 11)?;
    let tables: [&[u32]; 2] = [&[1], &[2]];
    let two = Rows::of(d, &tables, &[rows, 11], s)?;
    attention::cuda::decode_rows(d, q.part(0..512), &cache, &two, out.part_mut(0..512))?;
    keep(out.download("t")?.into_iter().map(Float::widen).collect());
    Ok(results)
}

/// A recording's results, and those after its input has changed.
fn replayed(d: &Device) -> Result<[Vec<f32>; 2], Error> {
    let (m, n, k) = (6, 10, 8);
    let (mut x, w) = (Buffer::of(d, "t", &floats(m * k))?, Buffer::of(d, "t", &floats(n * k))?);
    let mut y = Buffer::<f32>::uninit(d, "t", m * n)?;
    let work = |x: &Buffer<f32>, y: &mut Buffer<f32>| -> Result<(), Error> {
        let (mut normed, mut rstd) = (Buffer::<f32>::zeros(d, "t", m * k)?, Buffer::<f32>::zeros(d, "t", m)?);
        rmsnorm::cuda::forward(d, x.all(), x.part(0..k), 1e-6, normed.all_mut(), rstd.all_mut())?;
        let mut copy = Buffer::<f32>::uninit(d, "t", m * k)?;
        copy.all_mut().copy_from("t", normed.all())?;
        linear::cuda::forward(d, copy.all(), w.all(), n, k, None, y.all_mut())
    };
    work(&x, &mut y)?;
    let direct = y.download("t")?;
    y.all_mut().clear("t")?;
    let pool = Pool::of(d);
    let recording = d.record("t", &pool, || work(&x, &mut y))?;
    recording.replay("t")?;
    let first = y.download("t")?;
    assert_eq!(first, direct);
    x.all_mut().upload("t", &vec![0.25; m * k])?;
    recording.replay("t")?;
    Ok([first, y.download("t")?])
}

/// A recorded launch is of more shared memory than the next one of the same kernel.
fn replayed_after_a_smaller_one(d: &Device) -> Result<Vec<f32>, Error> {
    let rows = 3;
    let pool = Pool::of(d);
    let plan = Plan::of(d, &[Segment { queries: 0..rows, path: (0..rows as u32).collect() }])?;
    let run = |size: usize, out: &mut Buffer<f32>, lse: &mut Buffer<f32>| {
        let s = Shape { heads: 1, kv_heads: 1, dk: size, dv: size, scale: 0.1 };
        let q = Buffer::of(d, "t", &floats(rows * size))?;
        let mut forward = || {
            let (out, lse) = (out.part_mut(0..rows * size), lse.all_mut());
            attention::cuda::forward(d, q.all(), q.all(), q.all(), &plan, s, out, lse)
        };
        let recording = d.record("t", &pool, &mut forward)?;
        forward()?;
        Ok::<_, Error>((q, recording))
    };
    let (mut out, mut lse) = (Buffer::<f32>::zeros(d, "t", rows * 256)?, Buffer::<f32>::zeros(d, "t", rows)?);
    let (_q, large) = run(256, &mut out, &mut lse)?;
    run(200, &mut out, &mut lse)?;
    large.replay("t")?;
    out.download("t")
}

#[test]
fn a_card_does_what_the_emulated_one_does() {
    let folder = tempfile::tempdir().unwrap();
    // SAFETY: the only test of this program, before any other thread.
    unsafe {
        std::env::set_var("XDG_CACHE_HOME", folder.path());
        std::env::remove_var("R1_CUDA");
        if !libc::dlopen(c"libcuda.so.1".as_ptr(), libc::RTLD_NOW).is_null() {
            return eprintln!("skipped: this machine has a driver of its own");
        }
    }
    let emulated = match Device::emulated(0) {
        Ok(emulated) => emulated,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let expected = work(&emulated).unwrap();
    imitate(folder.path());
    assert_eq!(Device::count(), Ok(1));
    let none = Device::open(1).err().map(|e| e.to_string());
    assert_eq!(none.as_deref(), Some("cuda: there is no card 1: this machine has 1"));
    let card = Device::open(0).unwrap();
    assert_eq!((card.name().as_str(), card.capability()), ("an imitated card", 90));
    assert_eq!(work(&card).unwrap(), expected);
    // Again, in memory that was used before, from another thread.
    let again = std::thread::spawn({
        let card = card.clone();
        move || work(&card)
    });
    assert_eq!(again.join().unwrap().unwrap(), expected);

    let expected = replayed(&emulated).unwrap();
    assert_ne!(expected[0], expected[1]);
    assert_eq!(replayed(&card).unwrap(), expected);

    let expected = replayed_after_a_smaller_one(&emulated).unwrap();
    assert_eq!(replayed_after_a_smaller_one(&card).unwrap(), expected);

    // Freed blocks count as free, and are given back to the driver when a larger one is asked for.
    let (free, total) = card.memory().unwrap();
    let most = Buffer::<u8>::uninit(&card, "the test", free - 4096).unwrap();
    let error = Buffer::<u8>::uninit(&card, "the other", 1 << 20).err().unwrap();
    match &error {
        Error::OutOfMemory { op: "the other", bytes: 1_048_576, free, total: all } => {
            assert!(*free < 1 << 20 && *all == total);
        }
        other => panic!("{other:?}"),
    }
    drop(most);
    assert!(Buffer::<u8>::uninit(&card, "the other", 1 << 20).is_ok());

    // A block serves a buffer that is a little smaller, and is then whole again.
    drop(Buffer::<u8>::uninit(&card, "the test", 1 << 22).unwrap());
    let before = free_for_others();
    drop(Buffer::<u8>::uninit(&card, "the test", (1 << 22) - 5000).unwrap());
    drop(Buffer::<u8>::uninit(&card, "the test", 1 << 22).unwrap());
    assert_eq!(free_for_others(), before);
    assert!(Buffer::<u8>::uninit(&card, "the test", 1 << 21).is_ok());
    assert!(free_for_others() < before, "not one that is twice as large");

    // A process that waits for its turn keeps nothing that it does not use.
    let kept = Buffer::of(&card, "the test", &[1.5f32; 1000]).unwrap();
    drop(Buffer::<u8>::uninit(&card, "the test", 1 << 20).unwrap());
    let (before, peak) = (free_for_others(), card.peak());
    assert!((free - 4096..total).contains(&peak), "{peak} of {total}");
    card.release().unwrap();
    assert!(free_for_others() >= before + (1 << 20));
    assert_eq!(card.peak(), peak);
    assert_eq!(kept.download("the test").unwrap(), [1.5; 1000]);
}

/// Bytes that the driver has free for any process.
fn free_for_others() -> usize {
    let (mut free, mut total) = (0usize, 0usize);
    // SAFETY: the imitated driver is open; the function has this type.
    unsafe {
        let at = libc::dlsym(libc::RTLD_DEFAULT, c"cuMemGetInfo_v2".as_ptr());
        let ask: extern "C" fn(*mut usize, *mut usize) -> i32 = std::mem::transmute(at);
        ask(&raw mut free, &raw mut total);
    }
    free
}
