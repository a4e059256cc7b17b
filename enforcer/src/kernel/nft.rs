//! libnftnl, behind types that cannot be misused: expressions are made only by the functions here,
//! each of which gives its attributes the types that libnftnl copies them with.
//!
//! libnftnl copies whatever it is given (numbers and data by their length, texts up to their NUL),
//! so that nothing of ours has to outlive a call. Only an expression that is added to a rule changes
//! its owner, and so does the data of a target of iptables, which libnftnl frees by itself.

#![allow(unsafe_code, reason = "libnftnl is a C library, and the safe crate covers a part of it")]

use super::uapi::*;
use nftnl::expr::Expression;
use nftnl::{Chain, ChainType, MsgType, NlMsg, Policy, Table};
use nftnl_sys as sys;
use std::alloc::{Layout, handle_alloc_error};
use std::ffi::{CStr, CString, c_char, c_void};
use std::ptr::NonNull;

/// The longest name that nf_tables takes.
pub const NAME_MAX: usize = 255;
/// The longest log prefix that the kernel takes.
pub const PREFIX_MAX: usize = 127;
/// The most expressions that the kernel takes in a rule.
pub const EXPRESSIONS_MAX: usize = 128;
/// Above what the longest expression takes in a message: a name of [`NAME_MAX`] bytes, and headers.
const EXPRESSION_BYTES: usize = 448;
/// Expressions read or compare at most an IPv6 address.
const DATA_MAX: usize = 16;

/// A text without NUL, short enough for nf_tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(CString);

impl Text {
    /// Checks a name.
    pub fn name(text: &str) -> Option<Text> {
        Text::new(text, NAME_MAX)
    }

    /// Checks a log prefix.
    pub fn prefix(text: &str) -> Option<Text> {
        Text::new(text, PREFIX_MAX)
    }

    fn new(text: &str, longest: usize) -> Option<Text> {
        (1..=longest).contains(&text.len()).then(|| CString::new(text).ok()).flatten().map(Text)
    }
}

impl AsRef<CStr> for Text {
    fn as_ref(&self) -> &CStr {
        &self.0
    }
}

/// An expression of a rule. Registers and other operands are numbers of [`super::uapi`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expr {
    name: &'static CStr,
    /// Attributes by number, each as libnftnl has it: numbers in host order, texts with their NUL.
    attributes: Vec<(u32, Vec<u8>)>,
}

impl Expr {
    fn new(name: &'static CStr) -> Expr {
        Expr { name, attributes: Vec::new() }
    }

    fn byte(mut self, attribute: u32, value: u8) -> Expr {
        self.attributes.push((attribute, vec![value]));
        self
    }

    fn short(mut self, attribute: u32, value: u16) -> Expr {
        self.attributes.push((attribute, value.to_ne_bytes().to_vec()));
        self
    }

    fn number(mut self, attribute: u32, value: u32) -> Expr {
        self.attributes.push((attribute, value.to_ne_bytes().to_vec()));
        self
    }

    fn long(mut self, attribute: u32, value: u64) -> Expr {
        self.attributes.push((attribute, value.to_ne_bytes().to_vec()));
        self
    }

    /// Longer data is cut: libnftnl copies it into a field of fixed size.
    fn data(mut self, attribute: u32, value: &[u8]) -> Expr {
        debug_assert!(value.len() <= DATA_MAX);
        self.attributes.push((attribute, value.iter().copied().take(DATA_MAX).collect()));
        self
    }

    fn text(mut self, attribute: u32, value: &Text) -> Expr {
        self.attributes.push((attribute, value.0.as_bytes_with_nul().to_vec()));
        self
    }

    /// Loads a key of the connection, of one direction if it has directions.
    pub fn ct(key: u32, direction: Option<u8>, register: u32) -> Expr {
        let expr = Expr::new(c"ct").number(sys::NFTNL_EXPR_CT_KEY, key).number(sys::NFTNL_EXPR_CT_DREG, register);
        match direction {
            Some(direction) => expr.byte(sys::NFTNL_EXPR_CT_DIR, direction),
            None => expr,
        }
    }

    /// Sets a key of the connection from a register.
    pub fn ct_set(key: u32, register: u32) -> Expr {
        Expr::new(c"ct").number(sys::NFTNL_EXPR_CT_KEY, key).number(sys::NFTNL_EXPR_CT_SREG, register)
    }

    /// Loads a meta key.
    pub fn meta(key: u32, register: u32) -> Expr {
        Expr::new(c"meta").number(sys::NFTNL_EXPR_META_KEY, key).number(sys::NFTNL_EXPR_META_DREG, register)
    }

    /// Loads bytes of the packet.
    pub fn payload(base: u32, offset: u32, length: u32, register: u32) -> Expr {
        Expr::new(c"payload")
            .number(sys::NFTNL_EXPR_PAYLOAD_DREG, register)
            .number(sys::NFTNL_EXPR_PAYLOAD_BASE, base)
            .number(sys::NFTNL_EXPR_PAYLOAD_OFFSET, offset)
            .number(sys::NFTNL_EXPR_PAYLOAD_LEN, length)
    }

    /// Loads the type of the source address.
    pub fn source_type(register: u32) -> Expr {
        Expr::new(c"fib")
            .number(sys::NFTNL_EXPR_FIB_DREG, register)
            .number(sys::NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_ADDRTYPE)
            .number(sys::NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_SADDR)
    }

    /// Loads whether the source address is reached by the interface that the packet came in by.
    pub fn route_of_source(register: u32) -> Expr {
        Expr::new(c"fib")
            .number(sys::NFTNL_EXPR_FIB_DREG, register)
            .number(sys::NFTNL_EXPR_FIB_RESULT, NFT_FIB_RESULT_OIF)
            .number(sys::NFTNL_EXPR_FIB_FLAGS, NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT)
    }

    /// A register, and a mask, and an exclusive or.
    pub fn bitwise(register: u32, mask: &[u8], xor: &[u8]) -> Expr {
        Expr::new(c"bitwise")
            .number(sys::NFTNL_EXPR_BITWISE_SREG, register)
            .number(sys::NFTNL_EXPR_BITWISE_DREG, register)
            .number(sys::NFTNL_EXPR_BITWISE_LEN, u32::try_from(mask.len()).unwrap_or_default())
            .data(sys::NFTNL_EXPR_BITWISE_MASK, mask)
            .data(sys::NFTNL_EXPR_BITWISE_XOR, xor)
    }

    /// Goes on when a register compares so to a value.
    pub fn cmp(register: u32, operator: u32, value: &[u8]) -> Expr {
        Expr::new(c"cmp")
            .number(sys::NFTNL_EXPR_CMP_SREG, register)
            .number(sys::NFTNL_EXPR_CMP_OP, operator)
            .data(sys::NFTNL_EXPR_CMP_DATA, value)
    }

    /// Goes on when what lies in the registers is in a set.
    pub fn lookup(register: u32, set: &Text) -> Expr {
        // The kernel always tells the flags, so they are always given.
        Expr::new(c"lookup")
            .number(sys::NFTNL_EXPR_LOOKUP_SREG, register)
            .text(sys::NFTNL_EXPR_LOOKUP_SET, set)
            .number(sys::NFTNL_EXPR_LOOKUP_FLAGS, 0)
    }

    /// The verdict that a map has for what lies in the registers.
    pub fn vmap(register: u32, map: &Text) -> Expr {
        Expr::lookup(register, map).number(sys::NFTNL_EXPR_LOOKUP_DREG, NFT_REG_VERDICT)
    }

    /// A verdict, with a chain for those that go to one.
    pub fn verdict(code: i32, chain: Option<&Text>) -> Expr {
        let expr = Expr::new(c"immediate")
            .number(sys::NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT)
            .number(sys::NFTNL_EXPR_IMM_VERDICT, code.cast_unsigned());
        match chain {
            Some(chain) => expr.text(sys::NFTNL_EXPR_IMM_CHAIN, chain),
            None => expr,
        }
    }

    /// Counts.
    pub fn counter() -> Expr {
        Expr::new(c"counter").long(sys::NFTNL_EXPR_CTR_PACKETS, 0).long(sys::NFTNL_EXPR_CTR_BYTES, 0)
    }

    /// Goes on for so many packets a second, and a burst.
    pub fn limit(rate: u32, burst: u32) -> Expr {
        Expr::new(c"limit")
            .long(sys::NFTNL_EXPR_LIMIT_RATE, u64::from(rate))
            .long(sys::NFTNL_EXPR_LIMIT_UNIT, 1)
            .number(sys::NFTNL_EXPR_LIMIT_BURST, burst)
            .number(sys::NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS)
            .number(sys::NFTNL_EXPR_LIMIT_FLAGS, 0)
    }

    /// Sends the head of the packet to a log group.
    pub fn log(group: u16, prefix: &Text, length: u32) -> Expr {
        Expr::new(c"log")
            .text(sys::NFTNL_EXPR_LOG_PREFIX, prefix)
            .short(sys::NFTNL_EXPR_LOG_GROUP, group)
            .number(sys::NFTNL_EXPR_LOG_SNAPLEN, length)
    }

    /// Hands the packet to a queue, if somebody listens to it.
    pub fn queue(number: u16) -> Expr {
        Expr::new(c"queue")
            .short(sys::NFTNL_EXPR_QUEUE_NUM, number)
            .short(sys::NFTNL_EXPR_QUEUE_TOTAL, 1)
            .short(sys::NFTNL_EXPR_QUEUE_FLAGS, NFT_QUEUE_FLAG_BYPASS)
    }

    /// The same by the target of iptables.
    pub fn queue_target(number: u16) -> Expr {
        // struct xt_NFQ_info_v3: number, how many queues, flags; in host order, and padded as the
        // kernel wants the data of targets to be.
        let [a, b] = number.to_ne_bytes();
        let [c, d] = 1_u16.to_ne_bytes();
        let [e, f] = NFQ_FLAG_BYPASS.to_ne_bytes();
        let mut expr = Expr::new(TARGET);
        expr.attributes.push((sys::NFTNL_EXPR_TG_NAME, c"NFQUEUE".to_bytes_with_nul().to_vec()));
        expr.number(sys::NFTNL_EXPR_TG_REV, NFQUEUE_REVISION).data(TARGET_DATA, &[a, b, c, d, e, f, 0, 0])
    }

    /// Its text, as libnftnl prints it for debugging.
    pub fn describe(&self) -> String {
        let owned = self.allocate();
        // SAFETY: `allocate` gave a whole expression that nobody else has; it is freed once.
        unsafe {
            let text = describe(owned);
            sys::nftnl_expr_free(owned.as_ptr());
            text
        }
    }

    /// The expression as libnftnl has it; the caller owns it.
    fn allocate(&self) -> NonNull<sys::nftnl_expr> {
        // SAFETY: the name ends in NUL.
        let expr = unsafe { sys::nftnl_expr_alloc(self.name.as_ptr()) };
        // The names are those of libnftnl, so there is nothing but memory that can be missing.
        let Some(expr) = NonNull::new(expr) else { handle_alloc_error(Layout::new::<[u64; 16]>()) };
        for (attribute, value) in &self.attributes {
            let length = value.len() as u32;
            if self.name == TARGET && *attribute == TARGET_DATA {
                // SAFETY: a target of iptables, which the caller frees together with the expression.
                unsafe { give_target_data(expr, value) };
                continue;
            }
            // SAFETY: the functions above are the only ones that make attributes. They give numbers
            // the width that libnftnl copies, texts their NUL, and data at most what its field holds.
            let set = unsafe {
                sys::nftnl_expr_set(expr.as_ptr(), *attribute as u16, value.as_ptr().cast::<c_void>(), length)
            };
            if set < 0 {
                handle_alloc_error(Layout::new::<[u64; 16]>());
            }
        }
        expr
    }
}

impl Expression for Expr {
    fn to_expr(&self, _: &nftnl::Rule<'_>) -> NonNull<sys::nftnl_expr> {
        self.allocate()
    }
}

/// The expression that is a target of iptables.
const TARGET: &CStr = c"target";
/// What the target is told. libnftnl takes over what it is given here instead of copying it.
const TARGET_DATA: u32 = sys::NFTNL_EXPR_TG_INFO;

/// Gives a target its data, in memory that libnftnl frees with the expression.
///
/// # Safety
/// The expression has to be alive, and a [`TARGET`].
unsafe fn give_target_data(expr: NonNull<sys::nftnl_expr>, value: &[u8]) {
    // SAFETY: as many bytes are allocated as are copied, by the allocator that libnftnl frees with;
    // nobody else has the pointer once it is set.
    unsafe {
        let Some(data) = NonNull::new(sys::libc::malloc(value.len())) else {
            handle_alloc_error(Layout::new::<[u64; 16]>())
        };
        std::ptr::copy_nonoverlapping(value.as_ptr(), data.as_ptr().cast::<u8>(), value.len());
        sys::nftnl_expr_set(expr.as_ptr(), TARGET_DATA as u16, data.as_ptr(), value.len() as u32);
    }
}

/// The data of a target of iptables, which libnftnl does not print.
///
/// # Safety
/// The expression has to be alive, and a [`TARGET`].
unsafe fn describe_target_data(expr: NonNull<sys::nftnl_expr>) -> String {
    let mut length = 0_u32;
    // SAFETY: libnftnl gives a pointer to so many bytes, which live as long as the expression.
    let data = unsafe {
        let data = sys::nftnl_expr_get(expr.as_ptr(), TARGET_DATA as u16, &raw mut length).cast::<u8>();
        if data.is_null() { &[] } else { std::slice::from_raw_parts(data, length as usize) }
    };
    data.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Puts messages of libnftnl together.
pub struct Builder {
    table: Table,
    /// Larger than any message that [`Builder`] can make, and aligned as they have to be.
    scratch: Vec<u64>,
}

impl Builder {
    /// For messages about a table.
    pub fn new(table: &Text) -> Builder {
        let words = nftnl::nft_nlmsg_maxsize() as usize / size_of::<u64>();
        Builder { table: Table::new(table, nftnl::ProtoFamily::Inet), scratch: vec![0; words] }
    }

    /// A message that creates a chain, of the filter type if it has a hook.
    pub fn chain(&mut self, name: &Text, hook: Option<(nftnl::Hook, i32)>) -> &[u8] {
        let mut chain = Chain::new(name, &self.table);
        if let Some((hook, priority)) = hook {
            chain.set_type(ChainType::Filter);
            chain.set_hook(hook, priority);
            chain.set_policy(Policy::Accept);
        }
        // SAFETY: two names of at most 255 bytes and some numbers.
        unsafe { write(&chain, &mut self.scratch) }
    }

    /// A message that adds a rule at the end of a chain; `None` when it has more expressions than
    /// the kernel takes.
    pub fn rule(&mut self, chain: &Text, expressions: &[Expr]) -> Option<&[u8]> {
        // The names and headers, then the expressions.
        let longest = 2 * (NAME_MAX + 16) + 64 + expressions.len() * EXPRESSION_BYTES;
        if expressions.len() > EXPRESSIONS_MAX || longest > self.scratch.len() * size_of::<u64>() {
            return None;
        }
        let chain = Chain::new(chain, &self.table);
        let mut rule = nftnl::Rule::new(&chain);
        expressions.iter().for_each(|expr| rule.add_expr(expr));
        // SAFETY: the message is no longer than `longest`, which fits.
        Some(unsafe { write(&rule, &mut self.scratch) })
    }
}

/// Writes a message into the scratch space.
///
/// # Safety
/// The message has to fit.
unsafe fn write<'a>(message: &impl NlMsg, scratch: &'a mut [u64]) -> &'a [u8] {
    // SAFETY: that it fits is promised by the caller; the space is aligned for any header.
    unsafe { message.write(scratch.as_mut_ptr().cast::<c_void>(), 0, MsgType::Add) };
    // SAFETY: initialised bytes of `scratch`, borrowed as long as it is.
    let bytes = unsafe { std::slice::from_raw_parts(scratch.as_ptr().cast::<u8>(), size_of_val(scratch)) };
    let length = super::message::Messages(bytes).next().map_or(0, |message| message.raw.len());
    bytes.get(..length).unwrap_or_default()
}

/// The expressions of a rule that the kernel sent, as [`Expr::describe`] has them, but for what
/// counters have counted; `None` if libnftnl does not understand the message.
pub fn describe_rule(message: &[u8]) -> Option<Vec<String>> {
    let length = usize::try_from(u32::from_ne_bytes(super::message::array(message, 0)?)).ok()?;
    let header = message.as_ptr().cast::<sys::libc::nlmsghdr>();
    if length != message.len() || !header.is_aligned() {
        return None;
    }
    // SAFETY: the header is aligned and the message as long as it says, so that libnftnl reads
    // nothing beyond it. Rule and iterator are freed once, and the expressions that the iterator
    // gives live as long as the rule.
    unsafe {
        let rule = NonNull::new(sys::nftnl_rule_alloc())?;
        let mut texts = None;
        if sys::nftnl_rule_nlmsg_parse(header, rule.as_ptr()) == 0
            && let Some(expressions) = NonNull::new(sys::nftnl_expr_iter_create(rule.as_ptr()))
        {
            let next = || NonNull::new(sys::nftnl_expr_iter_next(expressions.as_ptr()));
            texts = Some(std::iter::from_fn(next).map(|expr| describe(expr)).collect());
            sys::nftnl_expr_iter_destroy(expressions.as_ptr());
        }
        sys::nftnl_rule_free(rule.as_ptr());
        texts
    }
}

/// The text of an expression; for a counter only that it is one.
///
/// # Safety
/// The expression has to be alive.
unsafe fn describe(expr: NonNull<sys::nftnl_expr>) -> String {
    let mut buffer = vec![0_u8; 512];
    // SAFETY: every expression has a name that ends in NUL; `snprintf` writes at most as many bytes
    // as it is told, and says how many it wanted to write.
    unsafe {
        let name = sys::nftnl_expr_get_str(expr.as_ptr(), sys::NFTNL_EXPR_NAME as u16);
        if !name.is_null() && CStr::from_ptr(name) == c"counter" {
            return "counter".to_owned();
        }
        let print = |buffer: &mut Vec<u8>| {
            let start = buffer.as_mut_ptr().cast::<c_char>();
            sys::nftnl_expr_snprintf(start, buffer.len(), expr.as_ptr(), sys::NFTNL_OUTPUT_DEFAULT, 0)
        };
        let wanted = usize::try_from(print(&mut buffer)).unwrap_or_default();
        if wanted >= buffer.len() {
            buffer.resize(wanted + 1, 0);
            print(&mut buffer);
        }
        let more = if !name.is_null() && CStr::from_ptr(name) == TARGET {
            format!(" data {}", describe_target_data(expr))
        } else {
            String::new()
        };
        let kind = if name.is_null() { String::new() } else { CStr::from_ptr(name).to_string_lossy().into_owned() };
        let text = CStr::from_bytes_until_nul(&buffer).map(CStr::to_string_lossy).unwrap_or_default();
        format!("{kind} {}{more}", text.trim()).trim().to_owned()
    }
}
