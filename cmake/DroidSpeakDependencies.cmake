# SPDX-License-Identifier: Apache-2.0
# Everything from outside: distribution packages, and libtorch from an unpacked wheel.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(absl REQUIRED)
find_package(Protobuf REQUIRED)
find_package(gRPC CONFIG REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(RocksDB CONFIG REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(spdlog CONFIG REQUIRED)
find_package(Boost 1.81 REQUIRED) # Beast and Asio: headers only
find_package(PkgConfig REQUIRED)
pkg_check_modules(XXHASH REQUIRED IMPORTED_TARGET libxxhash)
pkg_check_modules(CLI11 REQUIRED IMPORTED_TARGET CLI11)
pkg_check_modules(RE2 REQUIRED IMPORTED_TARGET re2)
pkg_check_modules(ISAL REQUIRED IMPORTED_TARGET libisal)
pkg_check_modules(NLOHMANN_JSON REQUIRED IMPORTED_TARGET nlohmann_json)
if(DROIDSPEAK_UCX_ROOT)
  set(ENV{PKG_CONFIG_PATH} "${DROIDSPEAK_UCX_ROOT}/lib/pkgconfig:$ENV{PKG_CONFIG_PATH}")
endif()
pkg_check_modules(IBVERBS REQUIRED IMPORTED_TARGET libibverbs)
pkg_check_modules(UCX REQUIRED IMPORTED_TARGET ucx)
if(DROIDSPEAK_TESTS)
  find_package(GTest REQUIRED)
  include(GoogleTest)
endif()

if(NOT DROIDSPEAK_DEPS) # as deploy/bootstrap/setup.sh has it
  if(DEFINED ENV{DROIDSPEAK_CACHE})
    set(DROIDSPEAK_DEPS "$ENV{DROIDSPEAK_CACHE}/deps")
  elseif(DEFINED ENV{XDG_CACHE_HOME})
    set(DROIDSPEAK_DEPS "$ENV{XDG_CACHE_HOME}/droidspeak/deps")
  else()
    set(DROIDSPEAK_DEPS "$ENV{HOME}/.cache/droidspeak/deps")
  endif()
endif()

# libtorch: its headers go behind the system's (-idirafter), or its own copy of protobuf would shadow Debian's.
if(DROIDSPEAK_ENGINE)
  set(torch_dir "${DROIDSPEAK_DEPS}/torch")
  if(NOT EXISTS "${torch_dir}/lib/libtorch_cpu.so")
    message(FATAL_ERROR "libtorch is not in ${torch_dir}: run ./dev setup, or configure with -DDROIDSPEAK_ENGINE=OFF")
  endif()
  set(cuda_lib "${DROIDSPEAK_DEPS}/nvidia/cu13/lib")
  add_library(droidspeak_torch INTERFACE)
  target_compile_options(droidspeak_torch INTERFACE
    "SHELL:-idirafter ${torch_dir}/include" "SHELL:-idirafter ${torch_dir}/include/torch/csrc/api/include"
    -Wno-unused-parameter)
  target_link_libraries(droidspeak_torch INTERFACE "${torch_dir}/lib/libtorch_cpu.so" "${torch_dir}/lib/libc10.so")
  target_link_options(droidspeak_torch INTERFACE
    "-Wl,-rpath,${torch_dir}/lib" "-Wl,-rpath,${cuda_lib}" "-Wl,-rpath-link,${cuda_lib}" "-Wl,-rpath-link,${torch_dir}/lib")
endif()
