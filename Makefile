# A thin layer over scripts/, meson and tests/run. Every target first brings in
# the packages that it needs (scripts/setup); SETUP=: leaves that out.

SETUP = scripts/setup
PREFIX = /usr/local
DESTDIR =
FUZZ_SECONDS = 30
NAME =
AREAS = unit contract crash cli system fuzz

# Sanitizers find more at -O1, and take their time.
SANITIZE = -Doptimization=1 -Db_sanitize=address,undefined -Db_lundef=false
export ASAN_OPTIONS ?= detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS ?= print_stacktrace=1:halt_on_error=1

.PHONY: build demo check $(AREAS:%=check-%) san tsan lint fuzz bench release install clean help

build:
	@$(SETUP) build
	@scripts/configure build
	@ninja -C build

demo: build
	@scripts/demo

check: build
	@$(SETUP) check
	@tests/run

$(AREAS:%=check-%): check-%: build
	@$(SETUP) check
	@tests/run $*

san:
	@$(SETUP) build check
	@scripts/configure build-san $(SANITIZE)
	@ninja -C build-san
	@tests/run --build build-san --slow 4

tsan:
	@$(SETUP) build check
	@scripts/configure build-tsan -Db_sanitize=thread -Dc_args=-Wno-tsan
	@ninja -C build-tsan
	@tests/run --build build-tsan --slow 6 cli system crash

lint:
	@$(SETUP) build dev
	@scripts/lint

fuzz:
	@$(SETUP) build dev
	@CC=clang-14 scripts/configure build-fuzz -Dfuzz=true $(SANITIZE)
	@ninja -C build-fuzz
	@FUZZ_SECONDS=$(FUZZ_SECONDS) scripts/fuzz

bench: release
	@$(SETUP) bench
	@scripts/release bench/prefill
	@bench/run $(NAME)

release:
	@$(SETUP) build
	@scripts/release

# Needs no package and builds nothing when the release build is there.
install:
	@test -x build-release/ebb || $(SETUP) build
	@scripts/release --install $(abspath $(PREFIX)) $(DESTDIR)

clean:
	rm -rf build build-*

help:
	@echo 'make              build/ebb'
	@echo 'make demo         a job on real data, killed on the way and started again'
	@echo 'make check        every test; the last line counts them'
	@echo 'make check-AREA   those of one area: $(AREAS)'
	@echo 'make san          every test with the address and undefined-behaviour sanitizers'
	@echo 'make tsan         the suites that start threads, with the thread sanitizer'
	@echo 'make lint         warnings of two compilers, clang-tidy, analyzer, shellcheck, rooms'
	@echo 'make fuzz         each fuzzer for FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo 'make bench        speed beside other programs; one of them with NAME=dispatch'
	@echo 'make install      into PREFIX=$(PREFIX), below DESTDIR if that is set'
	@echo 'make clean        removes the build folders'
