//! What a machine instruction is, and which memory it touches given the registers before it.
//!
//! An access that depends on a condition or a mask counts as if it happened in full: a locked
//! compare-and-exchange takes its line for writing even if it fails, and masked vector accesses are
//! rare. Only repeated string instructions are exact, since a step is one repetition of them.
//! Prefetches touch nothing.

use super::FootprintError;
use iced_x86::{
    Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, MemorySize, Mnemonic,
    OpAccess, OpKind, Register, UsedMemory,
};
use nix::libc::user_regs_struct as Registers;

/// The longest instruction.
pub(super) const LONGEST_BYTES: usize = 15;
/// What an instruction that saves or restores the extended state touches at least: the legacy area
/// and the header. The rest depends on what is in use; it all lies on the stack where programs call
/// each other.
const LEAST_XSAVE_BYTES: u64 = 576;

/// An instruction, decoded.
#[derive(Clone, Debug)]
pub(super) struct Decoded {
    code: Code,
    /// Reads and writes memory as one atomic step, which is a full fence as well.
    pub(super) is_atomic: bool,
    /// Waits for earlier memory accesses.
    pub(super) is_fence: bool,
    pub(super) is_system_call: bool,
    /// A string instruction that repeats itself.
    pub(super) is_repeated: bool,
    /// What it touches at once; a step of a repeated instruction is one repetition of it.
    operand: MemorySize,
    memory: Vec<UsedMemory>,
}

/// Memory that an instruction reads, writes, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) address: u64,
    pub(super) bytes: u64,
    pub(super) reads: bool,
    pub(super) writes: bool,
}

impl Decoded {
    /// The instruction that `bytes` begin with; `None` if they begin with none.
    pub(super) fn new(address: u64, bytes: &[u8]) -> Option<Self> {
        let decoder = &mut Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if instruction.is_invalid() {
            return None;
        }
        let mut factory = InstructionInfoFactory::new();
        let memory = factory.info(&instruction).used_memory().to_vec();
        Some(Self {
            code: instruction.code(),
            is_atomic: is_atomic(&instruction),
            is_fence: matches!(
                instruction.mnemonic(),
                Mnemonic::Mfence | Mnemonic::Lfence | Mnemonic::Sfence
            ),
            is_system_call: instruction.mnemonic() == Mnemonic::Syscall,
            is_repeated: instruction.has_rep_prefix() || instruction.has_repne_prefix(),
            operand: instruction.memory_size(),
            memory,
        })
    }

    /// The memory that the instruction touches when it is executed with these registers.
    pub(super) fn accesses(&self, registers: &Registers) -> Result<Vec<Access>, FootprintError> {
        if self.is_repeated && registers.rcx == 0 {
            return Ok(Vec::new());
        }
        let touched = self
            .memory
            .iter()
            .filter(|memory| !matches!(memory.access(), OpAccess::None | OpAccess::NoMemAccess));
        touched
            .map(|memory| {
                self.access(memory, registers)
                    .ok_or_else(|| FootprintError::UnknownMemory {
                        instruction: format!("{:?}", self.code),
                    })
            })
            .collect()
    }

    fn access(&self, memory: &UsedMemory, registers: &Registers) -> Option<Access> {
        let value = |register, _element, _element_bytes| register_value(register, registers);
        let size = match memory.memory_size() {
            MemorySize::Unknown if self.is_repeated => self.operand,
            size => size,
        };
        let bytes = match size {
            MemorySize::Xsave | MemorySize::Xsave64 => LEAST_XSAVE_BYTES,
            size if size.size() == 0 => return None,
            size => size.size() as u64,
        };
        let (reads, writes) = match memory.access() {
            OpAccess::Read | OpAccess::CondRead => (true, false),
            OpAccess::Write | OpAccess::CondWrite => (false, true),
            OpAccess::ReadWrite | OpAccess::ReadCondWrite => (true, true),
            OpAccess::None | OpAccess::NoMemAccess => return None,
        };
        Some(Access {
            address: memory.virtual_address(0, value)?,
            bytes,
            reads,
            writes,
        })
    }
}

/// An exchange with memory is atomic without being marked.
fn is_atomic(instruction: &Instruction) -> bool {
    let operands = 0..instruction.op_count();
    let has_memory = || {
        operands
            .clone()
            .any(|n| instruction.op_kind(n) == OpKind::Memory)
    };
    instruction.has_lock_prefix() || (instruction.mnemonic() == Mnemonic::Xchg && has_memory())
}

/// The value of a register that an address is made of; `None` for a vector of indices.
fn register_value(register: Register, registers: &Registers) -> Option<u64> {
    let full = match register.full_register() {
        Register::RAX => registers.rax,
        Register::RBX => registers.rbx,
        Register::RCX => registers.rcx,
        Register::RDX => registers.rdx,
        Register::RSI => registers.rsi,
        Register::RDI => registers.rdi,
        Register::RBP => registers.rbp,
        Register::RSP => registers.rsp,
        Register::R8 => registers.r8,
        Register::R9 => registers.r9,
        Register::R10 => registers.r10,
        Register::R11 => registers.r11,
        Register::R12 => registers.r12,
        Register::R13 => registers.r13,
        Register::R14 => registers.r14,
        Register::R15 => registers.r15,
        Register::FS => registers.fs_base,
        Register::GS => registers.gs_base,
        // The bases of the other segments are zero.
        Register::CS | Register::DS | Register::ES | Register::SS => 0,
        _ => return None,
    };
    // Part of a register is used only where an instruction asks for 32-bit addresses.
    Some(if register.is_gpr32() {
        full & u64::from(u32::MAX)
    } else {
        full
    })
}

/// The registers of a test.
#[cfg(test)]
pub(super) const ZEROED: Registers = Registers {
    r15: 0,
    r14: 0,
    r13: 0,
    r12: 0,
    rbp: 0,
    rbx: 0,
    r11: 0,
    r10: 0,
    r9: 0,
    r8: 0,
    rax: 0,
    rcx: 0,
    rdx: 0,
    rsi: 0,
    rdi: 0,
    orig_rax: 0,
    rip: 0,
    cs: 0,
    eflags: 0,
    rsp: 0,
    ss: 0,
    fs_base: 0,
    gs_base: 0,
    ds: 0,
    es: 0,
    fs: 0,
    gs: 0,
};

#[cfg(test)]
mod tests {
    use super::*;

    const RIP: u64 = 0x40_0000;

    fn registers() -> Registers {
        Registers {
            r15: 0x1500,
            rbx: 0x100,
            rax: 5,
            rcx: 3,
            rsi: 0x2000,
            rdi: 0xff_0000_3000,
            rip: RIP,
            rsp: 0x7000,
            fs_base: 0x9000,
            ..ZEROED
        }
    }

    fn decode(bytes: &[u8]) -> Decoded {
        Decoded::new(RIP, bytes).expect("they are an instruction")
    }

    /// Each access as its address, its size and `r`, `w` or `rw`.
    fn accesses(bytes: &[u8]) -> Vec<(u64, u64, &'static str)> {
        let accesses = decode(bytes).accesses(&registers()).unwrap();
        let mut accesses: Vec<_> = accesses
            .into_iter()
            .map(|access| {
                let kind = match (access.reads, access.writes) {
                    (true, false) => "r",
                    (false, true) => "w",
                    _ => "rw",
                };
                (access.address, access.bytes, kind)
            })
            .collect();
        accesses.sort_unstable();
        accesses
    }

    #[test]
    fn a_load_reads_and_a_store_writes_what_its_operand_names() {
        // mov rax, [rbx + rcx * 8 + 0x10]
        assert_eq!(accesses(&[0x48, 0x8b, 0x44, 0xcb, 0x10]), [(0x128, 8, "r")]);
        // mov [r15 - 1], al
        assert_eq!(accesses(&[0x41, 0x88, 0x47, 0xff]), [(0x14ff, 1, "w")]);
        // mov dword ptr [edi], eax: only the lower half of the register counts.
        assert_eq!(accesses(&[0x67, 0x89, 0x07]), [(0x3000, 4, "w")]);
        // mov rax, [rip + 0x20]: counted from the next instruction.
        let relative = accesses(&[0x48, 0x8b, 0x05, 0x20, 0, 0, 0]);
        assert_eq!(relative, [(RIP + 7 + 0x20, 8, "r")]);
        // movups xmm0, [rsi]
        assert_eq!(accesses(&[0x0f, 0x10, 0x06]), [(0x2000, 16, "r")]);
    }

    #[test]
    fn an_address_without_access_and_a_prefetch_touch_nothing() {
        // lea rax, [rbx + 8]
        assert_eq!(accesses(&[0x48, 0x8d, 0x43, 0x08]), []);
        // prefetcht0 [rsi]
        assert_eq!(accesses(&[0x0f, 0x18, 0x0e]), []);
        // nop dword ptr [rax]
        assert_eq!(accesses(&[0x0f, 0x1f, 0x00]), []);
    }

    #[test]
    fn thread_locals_lie_behind_the_segments_base() {
        // mov rax, fs:[0x28]
        let canary = [0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0];
        assert_eq!(accesses(&canary), [(0x9028, 8, "r")]);
        // add qword ptr fs:[rbx], 1
        let counter = [0x64, 0x48, 0x83, 0x03, 0x01];
        assert_eq!(accesses(&counter), [(0x9100, 8, "rw")]);
        assert!(!decode(&counter).is_atomic);
    }

    #[test]
    fn the_stack_is_touched_where_it_will_point() {
        // push rbx
        assert_eq!(accesses(&[0x53]), [(0x7000 - 8, 8, "w")]);
        // pop rbx
        assert_eq!(accesses(&[0x5b]), [(0x7000, 8, "r")]);
        // call rax
        assert_eq!(accesses(&[0xff, 0xd0]), [(0x7000 - 8, 8, "w")]);
        // ret
        assert_eq!(accesses(&[0xc3]), [(0x7000, 8, "r")]);
    }

    #[test]
    fn locked_instructions_are_atomic_and_so_is_an_exchange_with_memory() {
        // lock xadd [rsi], rax
        let locked_add = [0xf0, 0x48, 0x0f, 0xc1, 0x06];
        assert!(decode(&locked_add).is_atomic);
        assert_eq!(accesses(&locked_add), [(0x2000, 8, "rw")]);
        // lock cmpxchg [rsi], rbx
        let compare = [0xf0, 0x48, 0x0f, 0xb1, 0x1e];
        assert!(decode(&compare).is_atomic);
        assert_eq!(accesses(&compare), [(0x2000, 8, "rw")]);
        // xchg [rsi], rax
        let exchange = [0x48, 0x87, 0x06];
        assert!(decode(&exchange).is_atomic);
        assert_eq!(accesses(&exchange), [(0x2000, 8, "rw")]);
        // xchg rbx, rax
        let swap = [0x48, 0x87, 0xc3];
        assert!(!decode(&swap).is_atomic);
        assert_eq!(accesses(&swap), []);
        // xadd [rsi], rax
        assert!(!decode(&[0x48, 0x0f, 0xc1, 0x06]).is_atomic);
    }

    #[test]
    fn a_step_of_a_repeated_instruction_is_one_repetition() {
        let rep_movsb = [0xf3, 0xa4];
        assert!(decode(&rep_movsb).is_repeated);
        let moved = [(0x2000, 1, "r"), (0xff_0000_3000, 1, "w")];
        assert_eq!(accesses(&rep_movsb), moved);
        let none_left = Registers {
            rcx: 0,
            ..registers()
        };
        assert_eq!(decode(&rep_movsb).accesses(&none_left).unwrap(), []);
        // rep stosq
        let rep_stosq = [0xf3, 0x48, 0xab];
        assert_eq!(accesses(&rep_stosq), [(0xff_0000_3000, 8, "w")]);
        // pause and endbr64 have the prefix's byte and repeat nothing.
        for once in [&[0xf3, 0x90][..], &[0xf3, 0x0f, 0x1e, 0xfa]] {
            assert!(!decode(once).is_repeated);
        }
    }

    #[test]
    fn fences_and_system_calls_are_known() {
        assert!(decode(&[0x0f, 0xae, 0xf0]).is_fence);
        assert!(!decode(&[0x0f, 0xae, 0xf0]).is_atomic);
        assert!(decode(&[0x0f, 0x05]).is_system_call);
        assert!(!decode(&[0x90]).is_fence);
    }

    #[test]
    fn saving_the_extended_state_writes_its_fixed_part() {
        // xsavec [rsp + 0x40]
        let bytes = [0x0f, 0xc7, 0x64, 0x24, 0x40];
        let saved = decode(&bytes).accesses(&registers()).unwrap();
        let written = saved.iter().find(|access| access.writes).unwrap();
        assert_eq!((written.address, written.bytes), (0x7040, 576));
    }

    #[test]
    fn an_instruction_whose_addresses_lie_in_vectors_is_refused() {
        // vpgatherdd xmm0, [rsi + xmm1], xmm2
        let gather = decode(&[0xc4, 0xe2, 0x69, 0x90, 0x04, 0x0e]);
        let error = gather.accesses(&registers()).unwrap_err();
        assert!(error.to_string().contains("gather"), "{error}");
    }

    #[test]
    fn bytes_that_are_no_instruction_are_told() {
        assert!(Decoded::new(RIP, &[0x06]).is_none());
        assert!(Decoded::new(RIP, &[]).is_none());
    }
}
