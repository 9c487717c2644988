// SPDX-License-Identifier: Apache-2.0
#include "common/base/files.h"

#include <sys/stat.h>

#include <filesystem>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace droidspeak {
namespace {

using ::testing::HasSubstr;

class FilesTest : public ::testing::Test {
 protected:
  FilesTest() {
    std::string pattern = ::testing::TempDir() + "/files_test.XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  ~FilesTest() override { std::filesystem::remove_all(folder_); }

  size_t FilesThere() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }

  std::string folder_;
};

TEST_F(FilesTest, WhatIsWrittenIsReadBackWithItsMode) {
  const std::string path = folder_ + "/a";
  const std::string contents(100000, 'x');
  ASSERT_TRUE(WriteFileAtomically(path, "old").ok());
  ASSERT_TRUE(WriteFileAtomically(path, contents, 0600).ok());
  EXPECT_EQ(ReadFile(path, 1 << 20).value(), contents);
  struct stat status {};
  stat(path.c_str(), &status);
  EXPECT_EQ(status.st_mode & 0777, 0600);
  EXPECT_EQ(FilesThere(), 1) << "no temporary file is left";
}

TEST_F(FilesTest, AFailedWriteLeavesNothingBehindAndNamesTheFile) {
  const std::string path = folder_ + "/folder";
  std::filesystem::create_directory(path);
  const absl::Status status = WriteFileAtomically(path, "x");
  EXPECT_THAT(status.message(), HasSubstr(path));
  EXPECT_EQ(FilesThere(), 1);
  EXPECT_FALSE(WriteFileAtomically(folder_ + "/missing/file", "x").ok());
}

TEST_F(FilesTest, ReadingMoreThanTheBoundIsRefused) {
  const std::string path = folder_ + "/a";
  ASSERT_TRUE(WriteFileAtomically(path, "12345").ok());
  EXPECT_TRUE(ReadFile(path, 5).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(ReadFile(path, 4).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(ReadFile("/dev/zero", 1000).status()));
}

TEST_F(FilesTest, AMissingFileIsNotFoundAndNamed) {
  const absl::Status status = ReadFile(folder_ + "/none", 5).status();
  EXPECT_TRUE(absl::IsNotFound(status));
  EXPECT_THAT(status.message(), HasSubstr("/none"));
}

}  // namespace
}  // namespace droidspeak
