//! Which program runs, and which files it needs to run at all.

use crate::Unavailable;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// An interpreter, and the files and directories that it reads. They are shown to programs read-only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    pub(crate) executable: PathBuf,
    pub(crate) readable: Vec<PathBuf>,
}

/// Where shared libraries stand on the systems we know.
const LIBRARIES: [&str; 5] = ["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store"];

impl Interpreter {
    /// An interpreter at an absolute path, which reads the given absolute paths. Those that are not there are left out.
    pub fn new(executable: impl Into<PathBuf>, readable: impl IntoIterator<Item = PathBuf>) -> Self {
        let executable = executable.into();
        let all = LIBRARIES.iter().map(PathBuf::from).chain(readable).chain([executable.clone()]);
        let mut readable: Vec<PathBuf> = Vec::new();
        for path in all.filter(|path| path.is_absolute() && path.exists()) {
            if !readable.iter().any(|known| path.starts_with(known)) {
                readable.retain(|known| !known.starts_with(&path));
                readable.push(path);
            }
        }
        // A directory is made before what lies in it.
        readable.sort();
        Self { executable, readable }
    }

    /// A Python, asked for the places of its own library. Packages that are installed elsewhere are not shown, and those
    /// beside the library are imported only without `-S`. Errors: it cannot be started.
    pub fn python(program: &str) -> Result<Self, Unavailable> {
        let question = "import sys, sysconfig, os\nprint(os.path.realpath(sys.executable))\n\
            for p in (sysconfig.get_path('stdlib'), sysconfig.get_path('platstdlib'), sysconfig.get_config_var('LIBDIR')): print(p)";
        let unavailable = |fact: String| Unavailable(format!("{program} cannot be started: {fact}"));
        let answer = Command::new(program)
            .args(["-I", "-S", "-c", question])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .map_err(|error| unavailable(error.to_string()))?;
        let text = String::from_utf8_lossy(&answer.stdout);
        let mut lines = text.lines();
        match lines.next() {
            Some(executable) if answer.status.success() && Path::new(executable).is_absolute() => {
                Ok(Self::new(executable, lines.map(PathBuf::from)))
            }
            _ => Err(unavailable(format!("it says nothing of itself ({})", answer.status))),
        }
    }
}
