//! Writes every op's device code as PTX into a folder, to be read or given to ptxas:
//! `cargo run --release -p r1-kernels --features cuda --example ptx -- FOLDER [CAPABILITY]`, then `ptxas -v -arch=sm_90 FOLDER/attention.ptx`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: ptx FOLDER [CAPABILITY, such as 90]")?;
    let capability = args.next().unwrap_or("90".into()).parse()?;
    std::fs::create_dir_all(&folder)?;
    for name in r1_kernels::cuda::sources() {
        std::fs::write(format!("{folder}/{name}.ptx"), r1_kernels::cuda::ptx(name, capability)?)?;
    }
    Ok(())
}
