//! Where `scripts/setup` put Kafka, and how its programs are started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::binary;
use crate::process::ProcessSpec;

/// A version that `scripts/setup` fetches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KafkaVersion {
    /// 4.1.1, which every test may use.
    V4_1,
    /// 3.9.1, the last line that ran with ZooKeeper too. It may be missing: see [`KafkaVersion::is_installed`].
    V3_9,
}

impl KafkaVersion {
    /// As its makers write it.
    pub fn number(self) -> &'static str {
        match self {
            Self::V4_1 => "4.1.1",
            Self::V3_9 => "3.9.1",
        }
    }

    /// Whether `scripts/setup` was able to fetch it.
    pub fn is_installed(self) -> bool {
        self.home().is_ok_and(|home| home.join("complete").exists())
    }

    fn home(self) -> Result<PathBuf> {
        let cache = match std::env::var_os("XDG_CACHE_HOME") {
            Some(cache) if !cache.is_empty() => PathBuf::from(cache),
            _ => Path::new(&std::env::var_os("HOME").context("neither XDG_CACHE_HOME nor HOME is set")?)
                .join(".cache"),
        };
        Ok(cache.join("primacy").join(format!("kafka-{}", self.number())))
    }
}

/// How much memory and which compiler a Java program of ours gets.
#[derive(Clone, Debug)]
pub struct Jvm {
    /// Its options, before the class path.
    pub options: Vec<String>,
    /// Whether classes come from the archive; it holds for the serial collector alone.
    pub archive: bool,
}

impl Jvm {
    /// Ready soon and small: for tests.
    pub fn small() -> Self {
        let options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
        Self { options: options.map(str::to_owned).to_vec(), archive: true }
    }

    /// With the compiler that makes a broker fast, for figures.
    pub fn fast(heap_mebibytes: u32) -> Self {
        Self { options: vec![format!("-Xmx{heap_mebibytes}m")], archive: false }
    }
}

/// The command that runs `main_class` of this version with `args`, in `dir`, with its output in `log`.
///
/// # Errors
/// When Java or this version is not installed.
pub fn java(
    version: KafkaVersion,
    jvm: &Jvm,
    main_class: &str,
    args: Vec<OsString>,
    dir: &Path,
    log: &Path,
) -> Result<ProcessSpec> {
    let home = version.home()?;
    if !home.join("complete").exists() {
        bail!(
            "Kafka {} is not installed ({} is missing or not complete): run scripts/setup",
            version.number(),
            home.display()
        );
    }
    let class_path = std::fs::read_to_string(home.join("classpath"))
        .with_context(|| format!("{} cannot be read: run scripts/setup", home.join("classpath").display()))?;
    let mut words: Vec<OsString> = jvm.options.iter().map(OsString::from).collect();
    let archive = home.join("classes.jsa");
    if jvm.archive && archive.exists() {
        let mut option = OsString::from("-XX:SharedArchiveFile=");
        option.push(archive);
        // An archive that does not fit is passed over, as slow as without, and not a word about it.
        words.extend([option, "-Xshare:auto".into(), "-Xlog:disable".into()]);
    }
    words.extend(["-cp".into(), class_path.trim().into(), main_class.into()]);
    words.extend(args);
    Ok(ProcessSpec {
        name: main_class.rsplit('.').next().unwrap_or(main_class).to_owned(),
        program: binary::find("PRIMACY_JAVA", "java")?,
        args: words,
        env: Vec::new(),
        dir: dir.to_owned(),
        log: log.to_owned(),
    })
}
