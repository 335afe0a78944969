//! The firmware in QEMU: it is built and booted, its log is decoded, and the test has the other end
//! of its network cable.

use core::net::Ipv4Addr;
use core::ops::Range;
use core::time::Duration;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};

use defmt_decoder::{DecodeError, Table};
use kilochat_tests::PATIENCE;

/// What these tests need beyond Rust, and how to get it.
const NEEDS: &str = "needs qemu-system-arm and the thumbv7m target: \
    apt-get install qemu-system-arm; rustup target add thumbv7m-none-eabi";

/// The key of the operators of the firmware under test, and an address that its rules deny.
pub(crate) const OPERATOR_KEY: &str = "000102030405060708090a0b0c0d0e0f";
pub(crate) const DENIED_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 66);

/// The address of the firmware under test while it has no DHCP lease.
pub(crate) const STATIC_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// The firmware, with all features.
#[derive(Debug)]
pub(crate) struct Firmware {
    pub(crate) path: PathBuf,
    pub(crate) elf: Vec<u8>,
    /// The table by which its log is decoded, if it has a log.
    table: Option<Table>,
}

impl Firmware {
    /// Builds the firmware, once for all tests. The tests do this themselves, so that they never
    /// run an old one.
    pub(crate) fn build() -> &'static Self {
        static FIRMWARE: OnceLock<Firmware> = OnceLock::new();
        FIRMWARE.get_or_init(|| Self::build_with(&[]))
    }

    /// Builds the firmware with these arguments instead of the usual ones.
    pub(crate) fn build_with(arguments: &[&str]) -> Self {
        let status = cargo_build(arguments).status();
        let status = status.expect("cargo runs this test");
        assert!(status.success(), "the firmware does not build; it {NEEDS}");
        let path = target().join("thumbv7m-none-eabi/release/kilochat-firmware");
        let elf = std::fs::read(&path).expect("cargo has built it");
        let table = Table::parse(&elf).expect("defmt's sections are sound");
        Self { path, table, elf }
    }

    /// Returns the number of bytes in flash, and of static memory in RAM.
    pub(crate) fn sizes(&self) -> (usize, usize) {
        use object::{Object, ObjectSection, SectionKind};
        let file = object::File::parse(self.elf.as_slice()).expect("an ELF file");
        let sum = |kinds: &[SectionKind]| -> u64 {
            let sections = file.sections();
            let counted = sections.filter(|section| kinds.contains(&section.kind()));
            counted.map(|section| section.size()).sum()
        };
        // flash also holds the initial values of variables
        let flash = sum(&[
            SectionKind::Text,
            SectionKind::ReadOnlyData,
            SectionKind::ReadOnlyString,
            SectionKind::Data,
        ]);
        let ram = sum(&[SectionKind::Data, SectionKind::UninitializedData]);
        let fits = |size: u64| usize::try_from(size).expect("it fits on the chip");
        (fits(flash), fits(ram))
    }

    /// Returns the addresses of the function whose mangled name contains `part`.
    pub(crate) fn function(&self, part: &str) -> Range<u32> {
        use object::{Object, ObjectSymbol};
        let file = object::File::parse(self.elf.as_slice()).expect("an ELF file");
        let symbol = file
            .symbols()
            .find(|symbol| symbol.name().is_ok_and(|name| name.contains(part)))
            .unwrap_or_else(|| panic!("no {part} in the firmware"));
        let address = |at: u64| u32::try_from(at).expect("a 32-bit machine");
        address(symbol.address())..address(symbol.address() + symbol.size())
    }
}

/// Returns a `cargo build` of the firmware with these `arguments`. By default it has all features.
pub(crate) fn cargo_build(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../embedded/firmware"))
        .args(["build", "--release", "--quiet", "--target-dir"])
        .arg(target())
        .args(arguments);
    for (name, _) in std::env::vars_os() {
        if name == "DEFMT_LOG" || name.as_encoded_bytes().starts_with(b"KILOCHAT_") {
            cargo.env_remove(name);
        }
    }
    cargo.env("KILOCHAT_DHCP", "1").env("KILOCHAT_RATE", "0");
    cargo.env("KILOCHAT_OPERATOR_KEY", OPERATOR_KEY);
    cargo.env("KILOCHAT_KEY", "1");
    let rules = format!("deny {DENIED_IP}; allow 10.8.0.0/16;local fd00::/8");
    cargo.env("KILOCHAT_RULES", rules);
    cargo
}

/// Returns the target folder, which nothing else uses.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware")
}

/// A line of the board's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Logged {
    /// The board's time in milliseconds since its start.
    pub(crate) millis: u64,
    /// The level and the message.
    pub(crate) text: String,
}

/// A board in QEMU. It ends on drop.
#[derive(Debug)]
pub(crate) struct Machine {
    child: Child,
    cable: UdpSocket,
    log: Receiver<Logged>,
    /// All lines of the log so far.
    pub(crate) logged: Vec<Logged>,
    debugger: PathBuf,
}

impl Machine {
    /// Boots the board with these `arguments` for QEMU in addition to the usual ones.
    pub(crate) fn boot(firmware: &'static Firmware, arguments: &[&str]) -> Self {
        let cable = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let mine = cable.local_addr().expect("it is bound");
        // QEMU must be told its own port: one that was free a moment ago
        let theirs = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let theirs = theirs.expect("a free port");
        cable.connect(theirs).expect("loopback");
        let debugger = std::env::temp_dir().join(format!(
            "kilochat-board-{}-{}",
            std::process::id(),
            mine.port()
        ));
        let mut child = Command::new("qemu-system-arm")
            .args(["-M", "lm3s6965evb", "-display", "none", "-monitor", "none"])
            .args(["-serial", "stdio", "-kernel"])
            .arg(&firmware.path)
            .args(["-nic", &format!("socket,udp={mine},localaddr={theirs}")])
            .arg("-gdb")
            .arg(format!("unix:{},server=on,wait=off", debugger.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{NEEDS} ({error})"));
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, log) = channel();
        let table = firmware.table.as_ref().expect("it logs");
        std::thread::spawn(move || decode(table, stdout, &sender));
        Self {
            child,
            cable,
            log,
            logged: Vec::new(),
            debugger,
        }
    }

    /// Reads the new lines of the log. Returns all lines.
    pub(crate) fn log(&mut self) -> &[Logged] {
        self.logged.extend(self.log.try_iter());
        &self.logged
    }

    /// Sends the board a frame, which must not be empty: QEMU would take that for the end of the
    /// cable.
    pub(crate) fn send(&self, frame: &[u8]) {
        // a board that is starting does not listen yet, and the frame is lost
        let _ = self.cable.send(frame);
    }

    /// Returns the next frame from the board, or `None` after the time-out.
    pub(crate) fn receive<'a>(&self, timeout: Duration, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        let timeout = timeout.max(Duration::from_millis(1));
        let set = self.cable.set_read_timeout(Some(timeout));
        set.expect("it is not zero");
        let length = self.cable.recv(buffer).ok()?;
        Some(&buffer[..length])
    }

    /// Returns the process id of QEMU.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Attaches to QEMU's debugger, which stops the board.
    pub(crate) fn debug(&self) -> Debugger {
        Debugger::attach(&self.debugger)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // fails if it has ended already
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.debugger);
    }
}

fn decode(table: &Table, mut stdout: ChildStdout, sender: &Sender<Logged>) {
    let mut decoder = table.new_stream_decoder();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stdout.read(&mut buffer) {
        decoder.received(&buffer[..length]);
        loop {
            let logged = match decoder.decode() {
                Ok(frame) => {
                    let seconds = frame.display_timestamp().map(|time| time.to_string());
                    let level = frame.level().map_or("-", |level| level.as_str());
                    Logged {
                        millis: millis(&seconds.unwrap_or_default()),
                        text: format!("{level} {}", frame.display_message()),
                    }
                }
                Err(DecodeError::UnexpectedEof) => break,
                Err(DecodeError::Malformed) => Logged {
                    millis: 0,
                    text: "malformed".into(),
                },
            };
            if sender.send(logged).is_err() {
                return;
            }
        }
    }
}

/// Parses a time as defmt prints it: `1.234` are 1234 ms.
fn millis(seconds: &str) -> u64 {
    seconds.replace('.', "").parse().unwrap_or_default()
}

/// A connection to QEMU's debugger in the remote protocol of GDB. The board continues on drop.
#[derive(Debug)]
pub(crate) struct Debugger {
    stream: UnixStream,
}

impl Debugger {
    fn attach(path: impl AsRef<Path>) -> Self {
        let stream = UnixStream::connect(path).expect("QEMU listens");
        let set = stream.set_read_timeout(Some(PATIENCE));
        set.expect("it is not zero");
        let mut debugger = Self { stream };
        // it permits writing registers only after this request
        debugger.ask("qSupported:xmlRegisters=arm");
        debugger.ask("qXfer:features:read:target.xml:0,fff");
        debugger
    }

    /// Sets register `number`; 15 is the program counter.
    pub(crate) fn set_register(&mut self, number: u8, value: u32) {
        let answer = self.ask(&format!("P{number:x}={:08x}", value.swap_bytes()));
        assert_eq!(answer, "OK");
    }

    /// Writes bytes to memory.
    pub(crate) fn write(&mut self, address: u32, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let answer = self.ask(&format!("M{address:x},{:x}:{hex}", bytes.len()));
        assert_eq!(answer, "OK");
    }

    /// Reads bytes from memory.
    pub(crate) fn read(&mut self, address: u32, length: usize) -> Vec<u8> {
        let answer = self.ask(&format!("m{address:x},{length:x}"));
        let digits = answer.as_bytes().chunks(2);
        let bytes = digits.map(|pair| u8::from_str_radix(&String::from_utf8_lossy(pair), 16));
        bytes.collect::<Result<_, _>>().expect("hexadecimal")
    }

    /// Calls `function` with `back` as its return address, which nothing else may ever execute.
    /// Returns the registers that hold results.
    pub(crate) fn call(&mut self, function: u32, arguments: [u32; 4], back: u32) -> [u32; 4] {
        /// The numbers of the link register and the program counter.
        const LR: u8 = 14;
        const PC: u8 = 15;
        for (number, value) in (0..).zip(arguments) {
            self.set_register(number, value);
        }
        self.set_register(LR, back | 1);
        self.set_register(PC, function & !1);
        assert_eq!(self.ask(&format!("Z0,{back:x},2")), "OK");
        self.send("c");
        assert!(self.packet().starts_with('T'), "it stops at {back:#x}");
        assert_eq!(self.ask(&format!("z0,{back:x},2")), "OK");
        [0, 1, 2, 3].map(|number| {
            let answer = self.ask(&format!("p{number:x}"));
            u32::from_str_radix(&answer, 16).map_or(0, u32::swap_bytes)
        })
    }

    fn ask(&mut self, command: &str) -> String {
        self.send(command);
        loop {
            let answer = self.packet();
            // an unrequested packet that the board has stopped
            if !answer.starts_with('T') {
                return answer;
            }
        }
    }

    fn send(&mut self, command: &str) {
        let sum = command.bytes().fold(0u8, u8::wrapping_add);
        let packet = format!("${command}#{sum:02x}");
        let sent = self.stream.write_all(packet.as_bytes());
        sent.expect("QEMU runs");
    }

    fn packet(&mut self) -> String {
        let mut answer = Vec::new();
        let mut byte = [0];
        while !matches!(answer.as_slice(), [b'$', .., b'#', _, _]) {
            let read = self.stream.read_exact(&mut byte);
            read.expect("QEMU answers");
            // acknowledgements may precede a packet
            if !answer.is_empty() || byte == *b"$" {
                answer.extend(byte);
            }
        }
        let acknowledged = self.stream.write_all(b"+");
        acknowledged.expect("QEMU runs");
        let inner = &answer[1..answer.len() - 3];
        String::from_utf8_lossy(inner).into_owned()
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        self.ask("D");
    }
}
