//! Hosts at the board's Ethernet, each with its own hardware and IP address.

pub(crate) mod frames;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::time::Duration;
use std::time::Instant;

use kilochat_tests::PATIENCE;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, Icmpv4Message, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet,
    Icmpv6Repr, IpProtocol, Ipv4Packet, Ipv4Repr, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags,
    NdiscRepr, UdpPacket,
};

use self::frames::{arp, icmpv4, icmpv6, udp};
use crate::machine::{Logged, Machine};

/// The port of the relay.
pub(crate) const PORT: u16 = 10888;

/// The address that the hosts' DHCP server gives to the board.
pub(crate) const LEASED_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

/// The address of the DHCP server.
const SERVER_IP: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const SERVER_HARDWARE: EthernetAddress = EthernetAddress([2, 0xfe, 0, 0, 0, 2]);

/// A host with one peer on it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) hardware: EthernetAddress,
    pub(crate) ip: IpAddr,
    pub(crate) port: u16,
    /// Whether it neither sends nor receives.
    pub(crate) dead: bool,
    /// The board's IP address that it sends to, and the hardware address that it learnt for it.
    board: (IpAddr, EthernetAddress),
    /// The payloads of the datagrams to it.
    pub(crate) received: Vec<Vec<u8>>,
    /// Number of lines in these datagrams.
    pub(crate) lines_received: usize,
    /// Number of these lines that `wait_for` has passed.
    seen: usize,
}

/// The board, its cable and the hosts.
#[derive(Debug)]
pub(crate) struct Lan {
    pub(crate) machine: Machine,
    pub(crate) hosts: Vec<Host>,
    /// Number of lines of the log that `wait_for_log` has passed.
    log_seen: usize,
    /// Whether there is a DHCP server.
    pub(crate) dhcp: bool,
    /// Number of requests for a hardware address that the board has sent.
    pub(crate) board_asked: usize,
    /// Other frames from the board: answers to pings and to mDNS queries.
    pub(crate) others: Vec<Vec<u8>>,
}

impl Lan {
    pub(crate) fn new(machine: Machine) -> Self {
        Self {
            machine,
            hosts: Vec::new(),
            log_seen: 0,
            dhcp: true,
            board_asked: 0,
            others: Vec::new(),
        }
    }

    /// Creates a LAN and waits until its board has booted and has a DHCP lease.
    pub(crate) fn with_lease(machine: Machine) -> Self {
        let mut lan = Self::new(machine);
        lan.wait_for_log(&LEASED_IP.to_string());
        lan
    }

    /// Waits for a line of the board's log after the last one that was waited for. Meanwhile the
    /// hosts work.
    pub(crate) fn wait_for_log(&mut self, part: &str) -> Logged {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.machine.log();
            while let Some(line) = lines.get(self.log_seen) {
                self.log_seen += 1;
                if line.text.contains(part) {
                    return line.clone();
                }
            }
            assert!(
                Instant::now() < deadline,
                "{part:?} was not logged, but {lines:#?}"
            );
            self.step(Duration::from_millis(20));
        }
    }

    /// Returns the board's time in milliseconds: the time stamp of its log line about a refused
    /// datagram.
    pub(crate) fn board_ms(&mut self) -> u64 {
        self.say(1, "x".repeat(1025));
        self.wait_for_log("too long").millis
    }

    /// Returns the number of bytes of stack that the board has used, by its log.
    pub(crate) fn stack_used(&mut self) -> usize {
        let deepest = |text: &str| {
            let (_, behind) = text.split_once("board: ")?;
            let (bytes, _) = behind.split_once(" bytes of stack")?;
            bytes.parse().ok()
        };
        let lines = self.machine.log().iter();
        let used = lines.filter_map(|line| deepest(&line.text)).max();
        used.expect("it is logged at the start")
    }

    /// Adds a host that has learnt the board's hardware address in the usual way, by a request.
    pub(crate) fn add(&mut self, ip: IpAddr, board: IpAddr) -> usize {
        let index = self.hosts.len();
        let [.., low] = u16::try_from(index).expect("few hosts").to_be_bytes();
        self.hosts.push(Host {
            hardware: EthernetAddress([2, 0, 0, 0, 1, low]),
            ip,
            port: 40000 + u16::from(low),
            dead: false,
            board: (board, EthernetAddress::BROADCAST),
            received: Vec::new(),
            lines_received: 0,
            seen: 0,
        });
        let deadline = Instant::now() + PATIENCE;
        while self.hosts[index].board.1 == EthernetAddress::BROADCAST {
            assert!(
                Instant::now() < deadline,
                "{ip} gets no answer from {board}"
            );
            let question = self.question(index);
            self.machine.send(&question);
            self.step(Duration::from_millis(200));
        }
        index
    }

    /// Adds a host on another network, behind the router that `like` uses.
    pub(crate) fn add_remote(&mut self, ip: Ipv4Addr, like: usize) -> usize {
        let index = self.hosts.len();
        let [.., low] = u16::try_from(index).expect("few hosts").to_be_bytes();
        self.hosts.push(Host {
            hardware: EthernetAddress([2, 0, 0, 0, 1, low]),
            ip: ip.into(),
            port: 40000 + u16::from(low),
            dead: false,
            board: self.hosts[like].board,
            received: Vec::new(),
            lines_received: 0,
            seen: 0,
        });
        index
    }

    /// Returns a host's request for the board's hardware address.
    pub(crate) fn question(&self, host: usize) -> Vec<u8> {
        let Host {
            hardware,
            ip,
            board: (board, _),
            ..
        } = self.hosts[host];
        match (ip, board) {
            (IpAddr::V4(ip), IpAddr::V4(board)) => arp(
                ArpOperation::Request,
                (hardware, ip),
                (EthernetAddress::BROADCAST, board),
            ),
            (IpAddr::V6(ip), IpAddr::V6(board)) => {
                let [.., e, f, g] = board.octets();
                let group = Ipv6Addr::new(
                    0xff02,
                    0,
                    0,
                    0,
                    0,
                    1,
                    u16::from_be_bytes([0xff, e]),
                    u16::from_be_bytes([f, g]),
                );
                let solicit = NdiscRepr::NeighborSolicit {
                    target_addr: board,
                    lladdr: Some(hardware.into()),
                };
                let destination = EthernetAddress([0x33, 0x33, 0xff, e, f, g]);
                icmpv6(
                    (hardware, ip),
                    (destination, group),
                    &Icmpv6Repr::Ndisc(solicit),
                )
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                panic!("{ip} cannot talk to {board}")
            }
        }
    }

    /// Returns a host's frame with a datagram to the relay.
    pub(crate) fn datagram(&self, host: usize, payload: &[u8]) -> Vec<u8> {
        let host = &self.hosts[host];
        udp(
            (host.hardware, host.ip, host.port),
            (host.board.1, host.board.0, PORT),
            payload,
        )
    }

    /// Returns a host's frame with a ping to the board.
    pub(crate) fn ping(&self, host: usize) -> Vec<u8> {
        let host = &self.hosts[host];
        let (from, to) = (host.hardware, host.board.1);
        match (host.ip, host.board.0) {
            (IpAddr::V4(ip), IpAddr::V4(board)) => {
                let echo = Icmpv4Repr::EchoRequest {
                    ident: 7,
                    seq_no: 1,
                    data: b"are you there?",
                };
                icmpv4((from, ip), (to, board), &echo)
            }
            (IpAddr::V6(ip), IpAddr::V6(board)) => {
                let echo = Icmpv6Repr::EchoRequest {
                    ident: 7,
                    seq_no: 1,
                    data: b"are you there?",
                };
                icmpv6((from, ip), (to, board), &echo)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => Vec::new(),
        }
    }

    /// Returns a host's frame with a multicast query for the address of kilochat-3456.local (RFC 6762).
    pub(crate) fn name_question(&self, host: usize) -> Vec<u8> {
        let host = &self.hosts[host];
        let (group, hardware) = if host.ip.is_ipv4() {
            (IpAddr::from([224, 0, 0, 251]), [1, 0, 0x5e, 0, 0, 0xfb])
        } else {
            let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
            (group.into(), [0x33, 0x33, 0, 0, 0, 0xfb])
        };
        udp(
            (host.hardware, host.ip, 5353),
            (EthernetAddress(hardware), group, 5353),
            b"\0\0\0\0\0\x01\0\0\0\0\0\0\x0dkilochat-3456\x05local\0\0\x01\0\x01",
        )
    }

    pub(crate) fn say(&self, host: usize, payload: impl AsRef<[u8]>) {
        self.machine.send(&self.datagram(host, payload.as_ref()));
    }

    /// Joins as `name`.
    pub(crate) fn join(&mut self, host: usize, name: &str) {
        self.say(host, name);
        let welcome = format!("* welcome {name}: ");
        self.wait_for(host, |line| line.starts_with(&welcome));
    }

    /// Receives until a host has a line that `wanted` accepts, after the last one that was waited
    /// for, and returns it.
    pub(crate) fn wait_for(&mut self, host: usize, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let receiver = &mut self.hosts[host];
            while let Some(datagram) = receiver.received.get(receiver.seen) {
                receiver.seen += 1;
                let text = str::from_utf8(datagram).expect("the relay sends text");
                if let Some(line) = text.lines().find(|line| wanted(line)) {
                    return line.to_owned();
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let lines = self.lines(host);
                let log = self.machine.log();
                panic!("the line did not arrive at {host}; received: {lines:#?}; logged: {log:#?}");
            }
            self.step(left);
        }
    }

    /// Sends a request and waits for the reply. Then the relay has handled everything that was sent
    /// before.
    pub(crate) fn synchronize(&mut self, host: usize) {
        self.say(host, "/who \u{3}sync");
        self.wait_for(host, |line| line == "* nobody's name begins with ?sync");
    }

    /// Receives until the relay has sent everything to all hosts that are not dead.
    pub(crate) fn settle(&mut self) {
        for host in 0..self.hosts.len() {
            if !self.hosts[host].dead {
                self.synchronize(host);
            }
        }
        while self.step(Duration::from_millis(100)) {}
    }

    /// Returns all lines that a host has received.
    pub(crate) fn lines(&self, host: usize) -> Vec<String> {
        let datagrams = self.hosts[host].received.iter();
        let texts = datagrams.map(|datagram| String::from_utf8_lossy(datagram));
        texts
            .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
            .collect()
    }

    /// Handles the next frame from the board. Returns whether there was one before the time-out.
    pub(crate) fn step(&mut self, timeout: Duration) -> bool {
        let mut buffer = [0; 2048];
        let Some(frame) = self.machine.receive(timeout, &mut buffer) else {
            return false;
        };
        let frame = frame.to_vec();
        self.handle(&frame);
        true
    }

    fn handle(&mut self, bytes: &[u8]) {
        let frame = EthernetFrame::new_checked(bytes).expect("the board sends whole frames");
        match frame.ethertype() {
            EthernetProtocol::Arp => self.handle_arp(frame.payload()),
            EthernetProtocol::Ipv4 => self.handle_ipv4(frame.dst_addr(), frame.payload()),
            EthernetProtocol::Ipv6 => self.handle_ipv6(frame.dst_addr(), frame.payload()),
            EthernetProtocol::Unknown(other) => panic!("the board sent {other:#x}"),
        }
    }

    fn handle_arp(&mut self, payload: &[u8]) {
        let packet = ArpPacket::new_checked(payload).expect("a whole packet");
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_hardware_addr,
            target_protocol_addr,
        }) = ArpRepr::parse(&packet)
        else {
            panic!("ARP of another kind");
        };
        match operation {
            ArpOperation::Reply => {
                let asked = |host: &&mut Host| host.hardware == target_hardware_addr;
                if let Some(host) = self.hosts.iter_mut().find(asked)
                    && host.board.0 == source_protocol_addr
                {
                    host.board.1 = source_hardware_addr;
                }
            }
            ArpOperation::Request => {
                self.board_asked += 1;
                let Some(host) = self.host(target_protocol_addr.into()) else {
                    return;
                };
                let answer = arp(
                    ArpOperation::Reply,
                    (host.hardware, target_protocol_addr),
                    (source_hardware_addr, source_protocol_addr),
                );
                self.machine.send(&answer);
            }
            ArpOperation::Unknown(other) => panic!("ARP operation {other}"),
        }
    }

    fn handle_ipv4(&mut self, to: EthernetAddress, payload: &[u8]) {
        let packet = Ipv4Packet::new_checked(payload).expect("a whole packet");
        let checksums = ChecksumCapabilities::default();
        let header = Ipv4Repr::parse(&packet, &checksums).expect("a sound header");
        let (from, destination) = (header.src_addr.into(), header.dst_addr.into());
        if header.next_header == IpProtocol::Udp {
            self.handle_udp((to, destination), from, packet.payload());
        } else if header.next_header == IpProtocol::Icmp {
            let inner = Icmpv4Packet::new_checked(packet.payload()).expect("a whole packet");
            assert!(inner.verify_checksum());
            if inner.msg_type() == Icmpv4Message::EchoReply {
                self.others.push(inner.data().to_vec());
            }
        } else {
            // a report of its multicast groups
            assert_eq!(header.next_header, IpProtocol::Igmp);
        }
    }

    fn handle_ipv6(&mut self, to: EthernetAddress, payload: &[u8]) {
        let packet = Ipv6Packet::new_checked(payload).expect("a whole packet");
        let header = Ipv6Repr::parse(&packet).expect("a sound header");
        let (from, destination) = (header.src_addr, header.dst_addr);
        if header.next_header == IpProtocol::Udp {
            self.handle_udp((to, destination.into()), from.into(), packet.payload());
        } else if header.next_header == IpProtocol::Icmpv6 {
            self.handle_icmpv6(from, destination, packet.payload());
        } else {
            // a report of its multicast groups, after options
            assert_eq!(header.next_header, IpProtocol::HopByHop);
        }
    }

    fn handle_icmpv6(&mut self, from: Ipv6Addr, destination: Ipv6Addr, payload: &[u8]) {
        let packet = Icmpv6Packet::new_checked(payload).expect("a whole packet");
        let checksums = ChecksumCapabilities::default();
        match Icmpv6Repr::parse(&from, &destination, &packet, &checksums) {
            Ok(Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert {
                target_addr,
                lladdr: Some(hardware),
                ..
            })) => {
                let hardware = EthernetAddress::from_bytes(hardware.as_bytes());
                if let Some(host) = self.host_mut(destination.into())
                    && host.board.0 == target_addr
                {
                    host.board.1 = hardware;
                }
            }
            Ok(Icmpv6Repr::Ndisc(NdiscRepr::NeighborSolicit {
                target_addr,
                lladdr: Some(hardware),
            })) => {
                self.board_asked += 1;
                let Some(host) = self.host(target_addr.into()) else {
                    return;
                };
                let advert = NdiscRepr::NeighborAdvert {
                    flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
                    target_addr,
                    lladdr: Some(host.hardware.into()),
                };
                let board = EthernetAddress::from_bytes(hardware.as_bytes());
                let answer = icmpv6(
                    (host.hardware, target_addr),
                    (board, from),
                    &Icmpv6Repr::Ndisc(advert),
                );
                self.machine.send(&answer);
            }
            Ok(Icmpv6Repr::EchoReply { data, .. }) => self.others.push(data.to_vec()),
            // a router solicitation; there is no router
            Ok(_) => {}
            Err(_) => panic!("the board sent a bad ICMPv6 packet"),
        }
    }

    fn handle_udp(&mut self, to: (EthernetAddress, IpAddr), from: IpAddr, payload: &[u8]) {
        let packet = UdpPacket::new_checked(payload).expect("a whole packet");
        assert!(packet.verify_checksum(&from.into(), &to.1.into()));
        match (packet.src_port(), packet.dst_port()) {
            (68, 67) => self.handle_dhcp(packet.payload()),
            (5353, _) => self.others.push(packet.payload().to_vec()),
            (PORT, port) => {
                let addressed = |host: &&mut Host| (host.ip, host.port) == (to.1, port);
                if let Some(host) = self.hosts.iter_mut().find(addressed)
                    && !host.dead
                    && host.hardware == to.0
                {
                    assert_eq!(host.board.0, from);
                    let payload = packet.payload();
                    host.lines_received += payload.split(|byte| *byte == b'\n').count();
                    host.received.push(payload.to_vec());
                }
            }
            other => panic!("the board sent from and to {other:?}"),
        }
    }

    /// Answers a DHCP request: the board gets its address.
    fn handle_dhcp(&mut self, payload: &[u8]) {
        let packet = DhcpPacket::new_checked(payload).expect("a whole packet");
        let asked = DhcpRepr::parse(&packet).expect("a sound packet");
        let message_type = if asked.message_type == DhcpMessageType::Discover {
            DhcpMessageType::Offer
        } else {
            assert_eq!(asked.message_type, DhcpMessageType::Request);
            DhcpMessageType::Ack
        };
        if !self.dhcp {
            return;
        }
        let answer = DhcpRepr {
            message_type,
            your_ip: LEASED_IP,
            server_ip: SERVER_IP,
            server_identifier: Some(SERVER_IP),
            subnet_mask: Some(Ipv4Addr::new(255, 255, 255, 0)),
            router: Some(SERVER_IP),
            lease_duration: Some(3600),
            requested_ip: None,
            client_identifier: None,
            parameter_request_list: None,
            max_size: None,
            ..asked
        };
        let mut bytes = vec![0; answer.buffer_len()];
        let emitted = answer.emit(&mut DhcpPacket::new_unchecked(&mut bytes));
        emitted.expect("it fits");
        let frame = udp(
            (SERVER_HARDWARE, SERVER_IP.into(), 67),
            (EthernetAddress::BROADCAST, Ipv4Addr::BROADCAST.into(), 68),
            &bytes,
        );
        self.machine.send(&frame);
    }

    fn host(&self, ip: IpAddr) -> Option<&Host> {
        self.hosts.iter().find(|host| host.ip == ip && !host.dead)
    }

    fn host_mut(&mut self, ip: IpAddr) -> Option<&mut Host> {
        self.hosts.iter_mut().find(|host| host.ip == ip)
    }
}
