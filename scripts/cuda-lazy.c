/* One library of CUDA's, found when it is first called and not when the program starts: so a program built for
   GPUs also starts where no driver is. cuda-toolkit.sh compiles this once for each library, with

     SONAME   the library's name at run time, "libcuda.so.1"
     MISSING  what its functions return where it is missing: an error that its callers know
     NAME(x)  the symbols of this object, kept apart from those of the other libraries
     WITHOUT  what its user does then, in the message that says so
     LIST     the file with ENTRY(0, cuInit) ENTRY(1, cuDriverGetVersion) ...

   A call jumps through slot i. The slot first leads to `first_i`, which looks the function up, fills the slot and
   goes on to the function with all its arguments as they came. For x86-64 and the System V calling convention. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>

#if !defined(__x86_64__)
#error "written for x86-64 only; elsewhere link CUDA's own libraries"
#endif

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)
#define SLOTS NAME(slots)
#define RESOLVE NAME(resolve)

extern void *SLOTS[] __attribute__((visibility("hidden")));

#define ENTRY(i, f) #f,
static const char *const names[] = {
#include LIST
};
#undef ENTRY

static int missing(void) { return MISSING; }

static void *library(void) {
    static void *found;
    static int said;
    if (!found) found = dlopen(SONAME, RTLD_LAZY | RTLD_GLOBAL);
    /* Without a driver there is no GPU, and the program says so itself. */
    if (!found && !said++ && MISSING != 100) fprintf(stderr, "sadm: %s is not on this machine's library path%s\n", SONAME, WITHOUT);
    return found;
}

/* Two threads may both look a function up; they find the same. */
__attribute__((visibility("hidden"), used)) void *RESOLVE(size_t i) {
    void *found = library(), *f = found ? dlsym(found, names[i]) : NULL;
    return SLOTS[i] = f ? f : (void *)missing;
}

/* The registers that carry arguments: six integers, eight vectors, and %al with the number of vectors. */
__asm__(
    ".text\n"
    "common:\n"
    "  push %rbp\n  mov %rsp, %rbp\n"
    "  push %rdi\n  push %rsi\n  push %rdx\n  push %rcx\n  push %r8\n  push %r9\n  push %rax\n  push %r11\n"
    "  sub $128, %rsp\n"
    "  movups %xmm0, (%rsp)\n  movups %xmm1, 16(%rsp)\n  movups %xmm2, 32(%rsp)\n  movups %xmm3, 48(%rsp)\n"
    "  movups %xmm4, 64(%rsp)\n  movups %xmm5, 80(%rsp)\n  movups %xmm6, 96(%rsp)\n  movups %xmm7, 112(%rsp)\n"
    "  mov %r11, %rdi\n"
    "  call " TEXT(RESOLVE) "\n"
    "  movups (%rsp), %xmm0\n  movups 16(%rsp), %xmm1\n  movups 32(%rsp), %xmm2\n  movups 48(%rsp), %xmm3\n"
    "  movups 64(%rsp), %xmm4\n  movups 80(%rsp), %xmm5\n  movups 96(%rsp), %xmm6\n  movups 112(%rsp), %xmm7\n"
    "  add $128, %rsp\n"
    "  mov %rax, %r10\n"
    "  pop %r11\n  pop %rax\n  pop %r9\n  pop %r8\n  pop %rcx\n  pop %rdx\n  pop %rsi\n  pop %rdi\n"
    "  pop %rbp\n"
    "  jmp *%r10\n");

#define ENTRY(i, f) \
    __asm__(".text\n.globl " #f "\n.type " #f ", @function\n" #f ":\n" \
            "  jmp *(" TEXT(SLOTS) " + 8*" #i ")(%rip)\n" \
            "first_" #i ":\n  mov $" #i ", %r11d\n  jmp common\n");
#include LIST
#undef ENTRY

__asm__(".data\n.balign 8\n.globl " TEXT(SLOTS) "\n.hidden " TEXT(SLOTS) "\n" TEXT(SLOTS) ":\n");
#define ENTRY(i, f) __asm__("  .quad first_" #i "\n");
#include LIST
#undef ENTRY
__asm__(".text\n.section .note.GNU-stack,\"\",@progbits\n");
