//! A TAP interface as the node's Ethernet device. It allocates nothing for a frame.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};

use kilochat_embedded::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use kilochat_embedded::time;
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

/// Maximum length of an Ethernet frame without its checksum, in bytes.
const FRAME_MAX: usize = 1514;

/// "File descriptor in bad state": the interface was deleted.
const EBADFD: i32 = 77;

/// An open TAP interface.
pub(crate) struct Tap {
    file: SyncDevice,
    received: [u8; 2 * 1024],
    sending: Sending,
    /// Number of frames that may be read before the next wait.
    allowed: usize,
    receive_errors: u64,
    too_long: u64,
    is_gone: bool,
}

/// Counters of errors.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "the log shows them by their names")]
pub(crate) struct Counters {
    /// Frames that could not be sent, for instance because the interface is down.
    pub(crate) send_errors: u64,
    /// Failed attempts to receive.
    pub(crate) receive_errors: u64,
    /// Frames longer than the maximum of Ethernet.
    pub(crate) too_long: u64,
}

/// A frame that is being sent.
struct Sending {
    frame: [u8; FRAME_MAX],
    /// Length of the frame that waits until the interface no longer blocks, or 0.
    waiting: usize,
    errors: u64,
}

impl Tap {
    /// Opens the interface, or creates it and brings it up.
    ///
    /// # Errors
    ///
    /// A message that includes what to do.
    pub(crate) fn open(name: &str, create: bool) -> Result<Self, String> {
        let exists = nix::net::if_::if_nametoindex(name).is_ok();
        if !exists && !create {
            return Err(format!(
                "there is no interface {name}: let --create make it, or\n    \
                 sudo ip tuntap add dev {name} mode tap user $USER"
            ));
        }
        std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/net/tun")
            .map_err(|error| no_device_node(&error))?;
        let builder = DeviceBuilder::new().name(name).layer(Layer::L2);
        let builder = if create {
            builder.enable(true)
        } else {
            builder.inherit_enable_state()
        };
        let file = builder
            .build_sync()
            .map_err(|error| not_allowed(name, exists, &error))?;
        file.set_nonblocking(true)
            .map_err(|error| format!("cannot use {name}: {error}"))?;
        Ok(Self {
            file,
            received: [0; 2 * 1024],
            sending: Sending {
                frame: [0; FRAME_MAX],
                waiting: 0,
                errors: 0,
            },
            allowed: usize::MAX,
            receive_errors: 0,
            too_long: 0,
            is_gone: false,
        })
    }

    /// Allows the node to read this number of frames until the next call. Without the limit each
    /// batch ends with a read that finds nothing, which would delay a single line.
    pub(crate) fn allow(&mut self, frames: usize) {
        self.allowed = frames;
    }

    /// Returns whether a sent frame is still queued because the interface did not accept it. Until
    /// the queue is empty, no frame is read.
    pub(crate) fn is_blocked(&self) -> bool {
        self.sending.waiting > 0
    }

    /// Returns whether the interface was deleted.
    pub(crate) fn is_gone(&self) -> bool {
        self.is_gone
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters {
            send_errors: self.sending.errors,
            receive_errors: self.receive_errors,
            too_long: self.too_long,
        }
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Sending {
    /// Passes the frame to the interface. Returns `false` if that would block.
    fn flush(&mut self, file: &SyncDevice) -> bool {
        while self.waiting > 0 {
            match file.send(&self.frame[..self.waiting]) {
                Ok(_) => self.waiting = 0,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => {
                    self.errors += 1;
                    self.waiting = 0;
                }
            }
        }
        true
    }
}

impl Device for Tap {
    type RxToken<'a> = RxFrame<'a>;
    type TxToken<'a> = TxFrame<'a>;

    fn receive(&mut self, _now: time::Instant) -> Option<(RxFrame<'_>, TxFrame<'_>)> {
        if self.allowed == 0 || !self.sending.flush(&self.file) {
            return None;
        }
        self.allowed -= 1;
        let length = loop {
            match self.file.recv(&mut self.received) {
                Ok(length) if length <= FRAME_MAX => break length,
                Ok(_) => self.too_long += 1,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => {
                    self.receive_errors += 1;
                    self.is_gone = error.raw_os_error() == Some(EBADFD);
                    return None;
                }
            }
        };
        let token = TxFrame {
            sending: &mut self.sending,
            file: &self.file,
        };
        Some((RxFrame(&self.received[..length]), token))
    }

    fn transmit(&mut self, _now: time::Instant) -> Option<TxFrame<'_>> {
        self.sending.flush(&self.file).then_some(TxFrame {
            sending: &mut self.sending,
            file: &self.file,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_MAX;
        capabilities
    }
}

/// A frame that was received.
pub(crate) struct RxFrame<'a>(&'a [u8]);

impl RxToken for RxFrame<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, handle: F) -> R {
        handle(self.0)
    }
}

/// Space for a frame to send.
pub(crate) struct TxFrame<'a> {
    sending: &'a mut Sending,
    file: &'a SyncDevice,
}

impl TxToken for TxFrame<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        // no caller passes a longer frame than the device's maximum
        let result = fill(&mut self.sending.frame[..length]);
        self.sending.waiting = length;
        self.sending.flush(self.file);
        result
    }
}

fn no_device_node(error: &io::Error) -> String {
    let how = if error.kind() == ErrorKind::PermissionDenied {
        "sudo chmod 0666 /dev/net/tun"
    } else {
        "sudo modprobe tun\nor, in a container that lacks the device node:\n    \
         sudo mkdir -p /dev/net && sudo mknod -m 0666 /dev/net/tun c 10 200"
    };
    format!("cannot open /dev/net/tun: {error}; what may help:\n    {how}")
}

/// Returns what to do if the interface cannot be opened although the device node can.
fn not_allowed(name: &str, exists: bool, error: &io::Error) -> String {
    match error.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(nix::errno::Errno::EPERM) if exists => format!(
            "{name} belongs to somebody else; to make it yours:\n    \
             sudo ip tuntap del dev {name} mode tap\n    \
             sudo ip tuntap add dev {name} mode tap user $USER"
        ),
        Some(nix::errno::Errno::EPERM) => {
            let forbidden =
                std::fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns")
                    .is_ok_and(|setting| setting.trim() == "1");
            let allow = if forbidden {
                "\n(AppArmor forbids that here until: \
                 sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0)"
            } else {
                ""
            };
            format!(
                "to create {name} needs CAP_NET_ADMIN; have it made, once:\n    \
                 sudo ip tuntap add dev {name} mode tap user $USER\n\
                 or run this in a network of its own, without root:\n    \
                 unshare -Urn kilochat-tap --create{allow}"
            )
        }
        Some(nix::errno::Errno::EBUSY) => format!("another program uses {name}"),
        Some(nix::errno::Errno::EINVAL) => {
            format!("{name} is no TAP interface, or no name for one; try --tap tap1")
        }
        _ => format!("cannot open {name}: {error}"),
    }
}
