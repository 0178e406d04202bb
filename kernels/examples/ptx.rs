//! Writes every op's device code into a folder, as PTX and as a card's machine code, to be read (scripts/bench/sass.sh counts what is in it):
//! `cargo run --release -p r1-kernels --features cuda --example ptx -- FOLDER [CAPABILITY]`, then `nvdisasm -c FOLDER/attention.cubin`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: ptx FOLDER [CAPABILITY, such as 90]")?;
    let capability = args.next().unwrap_or("90".into()).parse()?;
    std::fs::create_dir_all(&folder)?;
    for name in r1_kernels::cuda::sources() {
        for (ending, machine_code) in [("ptx", false), ("cubin", true)] {
            let code = r1_kernels::cuda::compiled(name, capability, machine_code)?;
            std::fs::write(format!("{folder}/{name}.{ending}"), code)?;
        }
    }
    Ok(())
}
