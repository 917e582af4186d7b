//! Where `cargo xtask build` puts what it makes.

use std::env;
use std::path::{Path, PathBuf};

/// The build products, found by name. Nothing here checks that they exist.
#[derive(Clone, Debug)]
pub struct Images {
    target: PathBuf,
}

impl Images {
    /// The products of this workspace: `CARGO_TARGET_DIR` where it is set, `target/` otherwise.
    #[must_use]
    pub fn of_workspace() -> Self {
        let root = workspace_root();
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(dir) => root.join(dir),
            None => root.join("target"),
        };
        Self { target }
    }

    /// Cargo's target directory.
    #[must_use]
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The folder of the images.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.target.join("alcove")
    }

    /// The hypervisor for ARM, as a Linux Image.
    #[must_use]
    pub fn hypervisor(&self) -> PathBuf {
        self.hypervisor_for("aarch64")
    }

    /// The hypervisor for an architecture; for x86 an ELF file.
    #[must_use]
    pub fn hypervisor_for(&self, architecture: &str) -> PathBuf {
        self.folder().join(format!("hv-{architecture}"))
    }

    /// Domain-0 for ARM, as an ELF file.
    #[must_use]
    pub fn dom0(&self) -> PathBuf {
        self.dom0_for("aarch64")
    }

    /// Domain-0 for an architecture, as an ELF file.
    #[must_use]
    pub fn dom0_for(&self, architecture: &str) -> PathBuf {
        self.folder().join(format!("dom0-{architecture}"))
    }

    /// One of our own small guests for ARM, as a Linux Image.
    #[must_use]
    pub fn guest(&self, name: &str) -> PathBuf {
        self.guest_for("aarch64", name)
    }

    /// The same for an architecture; for x86 an ELF file.
    #[must_use]
    pub fn guest_for(&self, architecture: &str, name: &str) -> PathBuf {
        self.guests_for(architecture).join(name)
    }

    /// The folder of our own small guests.
    #[must_use]
    pub fn guests_for(&self, architecture: &str) -> PathBuf {
        self.folder().join(match architecture {
            "aarch64" => "guests".to_owned(),
            other => format!("guests-{other}"),
        })
    }

    /// The operator's tool.
    #[must_use]
    pub fn xenman(&self) -> PathBuf {
        self.target.join("release/xenman")
    }

    /// The folder of what `cargo xtask guest fetch` made of Debian for ARM: `Image`, `initrd.gz`, `VERSION`.
    #[must_use]
    pub fn debian(&self) -> PathBuf {
        self.debian_for("aarch64")
    }

    /// The same for an architecture.
    #[must_use]
    pub fn debian_for(&self, architecture: &str) -> PathBuf {
        self.target.join("guests").join(architecture)
    }

    /// Where logs of failed machines are kept.
    #[must_use]
    pub fn failed(&self) -> PathBuf {
        self.folder().join("failed")
    }

    /// The first of the products that a machine needs and that does not exist.
    #[must_use]
    pub fn missing(&self) -> Option<PathBuf> {
        [self.hypervisor(), self.dom0(), self.xenman()]
            .into_iter()
            .find(|path| !path.exists())
    }
}

/// The root of the workspace that this crate was built in.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
