// What compiled code calls (Run-time ABI for the Arm Architecture, sections 4.2 and 4.3), in a
// twentieth of the flash that the compiler's own routines take: they are made for speed on every
// Arm, and a Cortex-M3 divides, and loads and stores words at any address (UNALIGN_TRP is off).

    .syntax unified

    .macro function name
    .global \name
    .type \name, %function
\name:
    .endm

    .section .text.__aeabi_memmove, "ax", %progbits
// r0: to; r1: from; r2: how many bytes. They may overlap.
    function __aeabi_memmove
    function __aeabi_memmove4
    function __aeabi_memmove8
    function __aeabi_memcpy
    function __aeabi_memcpy4
    function __aeabi_memcpy8
    subs r3, r0, r1
    cmp r3, r2
    blo 4f // `to` begins within what is moved: the last byte goes first
    b 2f
1:  ldr r3, [r1], #4
    str r3, [r0], #4
2:  subs r2, #4
    bhs 1b
    adds r2, #4
    beq 8f
3:  ldrb r3, [r1], #1
    strb r3, [r0], #1
    subs r2, #1
    bne 3b
    bx lr

4:  adds r0, r2
    adds r1, r2
    b 6f
5:  ldr r3, [r1, #-4]!
    str r3, [r0, #-4]!
6:  subs r2, #4
    bhs 5b
    adds r2, #4
    beq 8f
7:  ldrb r3, [r1, #-1]!
    strb r3, [r0, #-1]!
    subs r2, #1
    bne 7b
8:  bx lr

    .section .text.__aeabi_memset, "ax", %progbits
// r0: to; r1: how many bytes.
    function __aeabi_memclr
    function __aeabi_memclr4
    function __aeabi_memclr8
    movs r2, #0
// ... r2: the byte.
    function __aeabi_memset
    function __aeabi_memset4
    function __aeabi_memset8
    uxtb r2, r2
    orr r2, r2, r2, lsl #8
    orr r2, r2, r2, lsl #16
    b 2f
1:  str r2, [r0], #4
2:  subs r1, #4
    bhs 1b
    adds r1, #4
    beq 4f
3:  strb r2, [r0], #1
    subs r1, #1
    bne 3b
4:  bx lr

    .section .text.__aeabi_uldivmod, "ax", %progbits
// r1:r0 by r3:r2, which is not 0; the quotient is returned in r1:r0, the remainder in r3:r2.
    function __aeabi_uldivmod
    orrs r12, r1, r3
    bne 1f
    udiv r12, r0, r2
    mls r2, r12, r2, r0
    mov r0, r12
    bx lr

1:  push {r4-r8, lr}
    movs r4, #0 // r5:r4: what is left of the bits that have been shifted out of r1:r0
    movs r5, #0
    movs r6, #64
2:  adds r0, r0
    adcs r1, r1
    adcs r4, r4
    adcs r5, r5
    subs r7, r4, r2
    sbcs r8, r5, r3
    blo 3f
    mov r4, r7
    mov r5, r8
    adds r0, #1
3:  subs r6, #1
    bne 2b
    mov r2, r4
    mov r3, r5
    pop {r4-r8, pc}
