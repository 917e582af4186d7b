//! A reader for the host's device tree (Devicetree Specification v0.4). A guest's tree is written by Domain-0.
//!
//! # Why two libraries
//! The `fdt` crate reads, but panics on much of what a broken boot loader may hand us. [`Tree::new`] therefore lets
//! `dtoolkit` validate the whole blob first, and then checks itself what `fdt` asserts beyond that: every token lies
//! within the structure block, depth is bounded, cell counts are whole words, and there are no NOP tags, which `fdt`
//! loses its way in. `survives` is the fuzz body that holds us to it.

use dtoolkit::fdt::Fdt as Checked;
use fdt::Fdt;
use fdt::node::FdtNode;

mod check;

/// Registers of a device at most; more are ignored.
pub const REGISTERS_MAX: usize = 8;
/// Interrupts of a device at most; more are ignored.
pub const INTERRUPTS_MAX: usize = 8;
/// Interrupt controllers at most; interrupts of more are not read.
pub const CONTROLLERS_MAX: usize = 32;
/// Nodes within nodes, the root included, at most.
pub const DEPTH_MAX: usize = 16;
/// Bytes of a blob at most: what boot loaders pass is far smaller.
pub const SIZE_MAX: usize = 2 << 20;

/// Why a tree is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FdtError {
    /// Not a tree, or larger than [`SIZE_MAX`] or than the memory it is in.
    Header,
    /// Not a valid tree of version 17.
    Malformed,
    /// The structure block does not end where its header says.
    Bounds,
    /// It has NOP tags: a boot loader edited it; running it through `dtc` helps.
    Nop,
    /// Nodes are nested deeper than [`DEPTH_MAX`].
    Depth,
    /// A `#…-cells` property is not one word.
    Cells,
}

/// A range of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Range {
    /// First byte.
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

impl Range {
    /// The address after the last byte, if there is one.
    #[must_use]
    pub fn end(&self) -> Option<u64> {
        self.base.checked_add(self.size)
    }
}

/// The first cells of an interrupt specifier, as its controller defines them; unused ones are 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Interrupt {
    /// The cells.
    pub cells: [u32; 3],
}

/// A validated tree.
#[derive(Clone, Debug)]
pub struct Tree<'a> {
    fdt: Fdt<'a>,
    blob: &'a [u8],
    /// Whom `interrupt-parent` can name. Looked for once: every interrupt asks.
    controllers: heapless::Vec<Controller, CONTROLLERS_MAX>,
}

/// An interrupt controller.
#[derive(Clone, Copy, Debug)]
struct Controller {
    handle: u64,
    /// Cells of an interrupt specifier.
    cells: usize,
}

impl<'a> Tree<'a> {
    /// Reads a tree at the start of `blob`, which may be longer.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(blob: &'a [u8]) -> Result<Self, FdtError> {
        let size = check::total_size(blob).ok_or(FdtError::Header)?;
        let blob = blob.get(..size).ok_or(FdtError::Header)?;
        Checked::new(blob).map_err(|_| FdtError::Malformed)?;
        check::structure(blob)?;
        let fdt = Fdt::new(blob).map_err(|_| FdtError::Header)?;
        let controllers = fdt.all_nodes().map(Node).filter_map(Controller::of);
        Ok(Self {
            fdt,
            blob,
            controllers: controllers.take(CONTROLLERS_MAX).collect(),
        })
    }

    /// Its bytes.
    #[must_use]
    pub fn blob(&self) -> &'a [u8] {
        self.blob
    }

    /// The node at a path. A name without unit address stands for the first with any.
    #[must_use]
    pub fn node(&self, path: &str) -> Option<Node<'_, 'a>> {
        let mut node = self.root()?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let matches = |child: &FdtNode<'_, 'a>| is_named(child.name, name);
            node = Node(node.0.children().find(matches)?);
        }
        Some(node)
    }

    fn root(&self) -> Option<Node<'_, 'a>> {
        self.fdt.all_nodes().next().map(Node)
    }

    /// Shows every node that is not disabled to `see`, parents first, until it returns `true`.
    pub fn visit<'t>(&'t self, see: &mut dyn FnMut(&Device<'_, 't, 'a>) -> bool) {
        if let Some(root) = self.root() {
            let device = Device {
                tree: self,
                node: root,
                parent: None,
            };
            let _stopped = visit_below(&device, see);
        }
    }

    /// Finds the first device that is compatible with one of `names`, and gives what `take` makes of it.
    pub fn find<T>(
        &self,
        names: &[&str],
        mut take: impl FnMut(&Device<'_, '_, 'a>) -> Option<T>,
    ) -> Option<T> {
        let mut found = None;
        self.visit(&mut |device| {
            if device.node.is_compatible(names) {
                found = take(device);
            }
            found.is_some()
        });
        found
    }

    /// Shows RAM, bank by bank.
    pub fn memory(&self, mut see: impl FnMut(Range)) {
        self.visit(&mut |device| {
            if device.node.text("device_type") == Some("memory") {
                device.registers().into_iter().for_each(&mut see);
            }
            false
        });
    }

    /// Shows ranges that firmware keeps: memory reservations, and nodes below `/reserved-memory`.
    pub fn reserved(&self, mut see: impl FnMut(Range)) {
        for reservation in self.fdt.memory_reservations() {
            see(Range {
                base: reservation.address() as u64,
                size: reservation.size() as u64,
            });
        }
        self.visit(&mut |device| {
            let parent = device.parent.map(|parent| parent.node.name());
            if parent == Some("reserved-memory") {
                device.registers().into_iter().for_each(&mut see);
            }
            false
        });
    }

    /// What the boot loader says.
    #[must_use]
    pub fn chosen(&self) -> Chosen<'a> {
        let Some(node) = self.node("/chosen") else {
            return Chosen::default();
        };
        let start = node.number("linux,initrd-start");
        let end = node.number("linux,initrd-end");
        let initrd = start.zip(end).and_then(|(base, end)| {
            let size = end.checked_sub(base)?;
            (size > 0).then_some(Range { base, size })
        });
        let stdout = node.text("stdout-path");
        Chosen {
            bootargs: node.text("bootargs"),
            initrd,
            stdout: stdout.and_then(|path| path.split(':').next()),
            rng_seed: node.property("rng-seed"),
        }
    }

    /// The path an alias stands for.
    #[must_use]
    pub fn alias(&self, name: &str) -> Option<&'a str> {
        self.node("/aliases")?.text(name)
    }

    /// Shows the CPUs that may be used: the number in `reg`, and the node.
    pub fn cpus(&self, mut see: impl FnMut(u64, &Node<'_, 'a>)) {
        let Some(cpus) = self.node("/cpus") else {
            return;
        };
        let cells = cpus.0.cell_sizes().address_cells;
        for child in cpus.0.children().map(Node) {
            if !is_named(child.name(), "cpu") || child.is_disabled() {
                continue;
            }
            let number = child
                .property("reg")
                .and_then(|mut reg| take_cells(&mut reg, cells));
            if let Some(number) = number {
                see(number, &child);
            }
        }
    }
}

/// What `/chosen` says.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Chosen<'a> {
    /// The command line.
    pub bootargs: Option<&'a str>,
    /// The initial RAM disk.
    pub initrd: Option<Range>,
    /// Path or alias of the console, without its options.
    pub stdout: Option<&'a str>,
    /// Randomness.
    pub rng_seed: Option<&'a [u8]>,
}

/// A node.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t, 'a>(FdtNode<'t, 'a>);

impl<'a> Node<'_, 'a> {
    /// Its name, unit address included.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.0.name
    }

    /// The bytes of a property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&'a [u8]> {
        self.0.property(name).map(|property| property.value)
    }

    /// A property that is one string.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let bytes = self.property(name)?;
        let text = bytes.split(|byte| *byte == 0).next()?;
        core::str::from_utf8(text).ok()
    }

    /// A property that is a number of one or two cells.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        let mut bytes = self.property(name)?;
        let cells = bytes.len() / 4;
        take_cells(&mut bytes, cells).filter(|_| bytes.is_empty())
    }

    /// Whether `compatible` has one of `names`.
    #[must_use]
    pub fn is_compatible(&self, names: &[&str]) -> bool {
        let value = self.property("compatible").unwrap_or_default();
        let mut strings = value.split(|byte| *byte == 0);
        strings.any(|have| names.iter().any(|name| name.as_bytes() == have))
    }

    fn is_disabled(&self) -> bool {
        matches!(self.text("status"), Some(status) if status != "okay" && status != "ok")
    }
}

/// A node and where it is in the tree.
#[derive(Clone, Copy, Debug)]
pub struct Device<'p, 't, 'a> {
    tree: &'t Tree<'a>,
    /// The node.
    pub node: Node<'t, 'a>,
    parent: Option<&'p Device<'p, 't, 'a>>,
}

impl<'t, 'a> Device<'_, 't, 'a> {
    /// Its registers, as addresses of the CPU. None if a bus on the way does not map them.
    #[must_use]
    pub fn registers(&self) -> heapless::Vec<Range, REGISTERS_MAX> {
        let mut registers = heapless::Vec::new();
        let (Some(parent), Some(mut reg)) = (self.parent, self.node.property("reg")) else {
            return registers;
        };
        let cells = parent.node.0.cell_sizes();
        if cells.address_cells == 0 {
            return registers;
        }
        while let Some(base) = take_cells(&mut reg, cells.address_cells) {
            let Some(size) = take_cells(&mut reg, cells.size_cells) else {
                break;
            };
            let base = parent.cpu_address(base, size);
            let pushed = base.map(|base| registers.push(Range { base, size }));
            if matches!(pushed, Some(Err(_))) {
                break;
            }
        }
        registers
    }

    /// Its interrupts.
    #[must_use]
    pub fn interrupts(&self) -> heapless::Vec<Interrupt, INTERRUPTS_MAX> {
        let mut interrupts = heapless::Vec::new();
        let (Some(cells), Some(value)) = (self.interrupt_cells(), self.node.property("interrupts"))
        else {
            return interrupts;
        };
        for specifier in value.chunks_exact(4 * cells) {
            let mut interrupt = Interrupt::default();
            for (cell, bytes) in interrupt.cells.iter_mut().zip(specifier.chunks_exact(4)) {
                *cell = word(bytes).unwrap_or_default();
            }
            if interrupts.push(interrupt).is_err() {
                break;
            }
        }
        interrupts
    }

    /// Cells of an interrupt specifier: said by the interrupt parent, which is inherited.
    fn interrupt_cells(&self) -> Option<usize> {
        let Some(handle) = self.node.number("interrupt-parent") else {
            return self.parent?.interrupt_cells();
        };
        let mut controllers = self.tree.controllers.iter();
        let controller = controllers.find(|controller| controller.handle == handle)?;
        Some(controller.cells)
    }

    /// Translates an address on the bus that this node is.
    fn cpu_address(&self, address: u64, size: u64) -> Option<u64> {
        let Some(parent) = self.parent else {
            return Some(address);
        };
        let mut ranges = self.node.property("ranges")?;
        if ranges.is_empty() {
            return parent.cpu_address(address, size);
        }
        let here = self.node.0.cell_sizes();
        let above = parent.node.0.cell_sizes();
        if here.address_cells == 0 {
            return None;
        }
        loop {
            let child = take_cells(&mut ranges, here.address_cells)?;
            let base = take_cells(&mut ranges, above.address_cells)?;
            let length = take_cells(&mut ranges, here.size_cells)?;
            let Some(offset) = address.checked_sub(child).filter(|at| *at < length) else {
                continue;
            };
            if size > length - offset {
                return None;
            }
            return parent.cpu_address(base.checked_add(offset)?, size);
        }
    }
}

fn visit_below<'t, 'a>(
    device: &Device<'_, 't, 'a>,
    see: &mut dyn FnMut(&Device<'_, 't, 'a>) -> bool,
) -> bool {
    if see(device) {
        return true;
    }
    let below = |node| Device {
        tree: device.tree,
        node,
        parent: Some(device),
    };
    let mut children = device.node.0.children().map(Node);
    children.any(|node| !node.is_disabled() && visit_below(&below(node), see))
}

impl Controller {
    fn of(node: Node<'_, '_>) -> Option<Self> {
        let cells = usize::try_from(node.number("#interrupt-cells")?).ok()?;
        Some(Self {
            handle: node.number("phandle")?,
            cells: Some(cells).filter(|n| (1..=4).contains(n))?,
        })
    }
}

/// Whether a node's name is `wanted`, with or without its unit address.
fn is_named(name: &str, wanted: &str) -> bool {
    name == wanted || name.split('@').next() == Some(wanted)
}

fn word(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

/// Takes a number of 0, 1 or 2 cells off the front.
fn take_cells(value: &mut &[u8], cells: usize) -> Option<u64> {
    let (front, rest) = value.split_at_checked(cells.checked_mul(4)?)?;
    let number = match cells {
        0 => 0,
        1 => u64::from(word(front)?),
        2 => u64::from_be_bytes(front.try_into().ok()?),
        _ => return None,
    };
    *value = rest;
    Some(number)
}

/// Fuzz body: whatever `blob` is, it is refused, or everything here can be read from it without a panic.
#[cfg(any(test, feature = "fake"))]
pub fn survives(blob: &[u8]) -> bool {
    let Ok(tree) = Tree::new(blob) else {
        return false;
    };
    let mut seen = 0_u64;
    tree.memory(|range| seen ^= range.end().unwrap_or_default());
    tree.reserved(|range| seen ^= range.end().unwrap_or_default());
    tree.cpus(|number, node| seen ^= number ^ node.name().len() as u64);
    let _chosen = (
        tree.chosen(),
        tree.alias("serial0"),
        tree.node("/soc/cpu@1"),
    );
    tree.visit(&mut |device| {
        seen ^= device.registers().len() as u64 ^ device.interrupts().len() as u64;
        false
    });
    let _found = tree.find(&["none"], |device| Some(device.registers()));
    for node in tree.fdt.all_nodes() {
        let (cells, compatible) = (node.cell_sizes(), node.compatible());
        seen ^= cells.size_cells as u64 ^ u64::from(compatible.is_some());
        seen ^= node.properties().count() as u64 ^ node.children().count() as u64;
        seen ^= node.reg().map_or(0, Iterator::count) as u64;
        seen ^= node.interrupts().map_or(0, |all| all.take(99).count()) as u64;
    }
    core::hint::black_box(seen);
    true
}

#[cfg(test)]
mod tests;
