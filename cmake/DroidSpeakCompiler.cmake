# SPDX-License-Identifier: Apache-2.0
# Language level, warnings, sanitizers, linker and output folders: the same for every target.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE RelWithDebInfo CACHE STRING "" FORCE)
endif()

# Every target of ours links droidspeak_flags; dependencies never see these warnings.
add_library(droidspeak_flags INTERFACE)
target_compile_options(droidspeak_flags INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  target_compile_options(droidspeak_flags INTERFACE -Wthread-safety)
endif()
target_include_directories(droidspeak_flags INTERFACE "${PROJECT_SOURCE_DIR}")

if(DROIDSPEAK_SANITIZE)
  add_compile_options(-fsanitize=${DROIDSPEAK_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${DROIDSPEAK_SANITIZE})
  add_compile_definitions(DROIDSPEAK_SANITIZED=1)
endif()
if(DROIDSPEAK_SANITIZE MATCHES thread)
  # gcc warns of fences in Boost.Asio, and abseil's locks have to be told to the sanitizer (tsan/absl_sync.cc).
  if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    add_compile_options(-Wno-tsan)
  endif()
  add_library(droidspeak_tsan STATIC cmake/tsan/absl_sync.cc)
  set(mutex _ZN4absl7debian35Mutex)
  set(notification absl7debian312Notification)
  foreach(symbol
      ${mutex}4LockEv ${mutex}6UnlockEv ${mutex}10ReaderLockEv ${mutex}12ReaderUnlockEv
      ${mutex}5AwaitERKNS0_9ConditionE ${mutex}16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE
      ${mutex}17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE
      _ZN4${notification}6NotifyEv _ZNK4${notification}19WaitForNotificationEv
      _ZNK4${notification}30WaitForNotificationWithTimeoutENS0_8DurationE)
    add_link_options("LINKER:--wrap=${symbol}")
  endforeach()
  target_link_libraries(droidspeak_flags INTERFACE droidspeak_tsan)
endif()

find_program(DROIDSPEAK_CCACHE ccache)
if(DROIDSPEAK_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_C_COMPILER_LAUNCHER "${DROIDSPEAK_CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER "${DROIDSPEAK_CCACHE}")
endif()
find_program(DROIDSPEAK_MOLD mold)
if(DROIDSPEAK_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
