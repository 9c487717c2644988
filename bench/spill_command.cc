// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench spill`: the RocksDB tier beside fio on the same disk.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/command.h"
#include "bench/fio.h"
#include "bench/report.h"
#include "bench/spill_load.h"
#include "common/base/malloc.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

constexpr int kQueueDepth = 8;

struct SpillOptions {
  std::string folder = ".";
  SpillShape shape;
  uint64_t limit_bytes = uint64_t{1} << 30;  // of the steady state
  uint64_t rows = 1'000'000;
  int repeats = 5;
  bool json = false;
};

struct Samples {
  std::vector<double> fio_write, fio_read, write, read, durable, steady, amplification, limit_share, lost, rows,
      extents;
};

absl::Status Round(const SpillOptions& options, const std::string& folder, Samples* samples) {
  FioJob job{folder + "/fio", true, options.shape.extent_bytes, options.shape.total_bytes, kQueueDepth};
  ASSIGN_OR_RETURN(const std::unique_ptr<TierLoad> tier, TierLoad::Create(folder + "/tier", options.shape));
  ASSIGN_OR_RETURN(const double write, tier->Write(/*durable=*/false));
  ASSIGN_OR_RETURN(const double fio_write, Fio(job));
  job.write = false;
  ASSIGN_OR_RETURN(const double fio_read, Fio(job));
  std::filesystem::remove(job.file);
  ASSIGN_OR_RETURN(const double read, tier->Read());
  ASSIGN_OR_RETURN(const double durable, tier->Write(/*durable=*/true));
  ASSIGN_OR_RETURN(const SteadyFigures steady, EvictSteadily(folder + "/steady", options.shape, options.limit_bytes));
  if (samples == nullptr) return absl::OkStatus();
  samples->fio_write.push_back(fio_write / 1e9);
  samples->fio_read.push_back(fio_read / 1e9);
  samples->write.push_back(write / 1e9);
  samples->read.push_back(read / 1e9);
  samples->durable.push_back(durable / 1e9);
  samples->steady.push_back(steady.bytes_a_second / 1e9);
  samples->amplification.push_back(steady.amplification);
  samples->limit_share.push_back(steady.limit_share);
  samples->lost.push_back(steady.lost_share);
  return absl::OkStatus();
}

absl::Status Measure(const SpillOptions& options, const std::string& folder, Samples& samples) {
  for (int i = -1; i < options.repeats; ++i) {  // the first round warms up
    std::cerr << "spill: round " << i + 1 << " of " << options.repeats << "\n";
    RETURN_IF_ERROR(Round(options, folder, i < 0 ? nullptr : &samples));
  }
  std::cerr << "spill: recovery\n";
  ASSIGN_OR_RETURN(const auto recovered, Recover(folder + "/recovery", options.rows, options.repeats));
  for (const RecoveryFigures& figures : recovered) {
    samples.rows.push_back(figures.rows_a_second / 1e6);
    samples.extents.push_back(figures.extents_a_second / 1e6);
  }
  return absl::OkStatus();
}

void Describe(const SpillOptions& options, const Samples& samples, Report& report) {
  report.Setting("io",
                 "direct I/O on both sides, for reads, flushes and compactions: the page cache has no part in it");
  report.Setting("extent_bytes", options.shape.extent_bytes);
  report.Setting("total_bytes", options.shape.total_bytes);
  report.Setting("fio", absl::StrCat("libaio, queue depth ", kQueueDepth,
                                     ": writes in order into a new file, fsync at the end; random reads"));
  report.Setting("readers", options.shape.readers);
  report.Setting("durable", absl::StrCat("a sync each ", options.shape.sync_bytes >> 20, " MiB"));
  report.Setting("steady", absl::StrCat("a store with a disk limit of ", options.limit_bytes >> 20,
                                        " MiB, full, while twice its limit goes through it"));
  report.Setting("entries", absl::StrCat("a directory row is a block; ", options.rows, " rows of 32 extents"));
  report.Setting("repeats", options.repeats);
  report.Result("fio write", "GB/s", samples.fio_write);
  report.Result("fio read", "GB/s", samples.fio_read);
  report.Result("write into empty space", "GB/s", samples.write);
  report.Result("read, verified", "GB/s", samples.read);
  report.Result("durable", "GB/s", samples.durable);
  report.Result("steady state under eviction", "GB/s", samples.steady);
  report.Result("space amplification, at most", "x", samples.amplification);
  report.Result("disk used of the limit, at most", "share", samples.limit_share);
  report.Result("lost on the way to disk", "share", samples.lost);
  report.Result("recovery, blocks", "M rows/s", samples.rows);
  report.Result("recovery, extents", "M/s", samples.extents);
  const double extents = static_cast<double>((uint64_t{100} << 30) / options.shape.extent_bytes);
  report.Result("recovery of 100 GiB, extrapolated", "ms", {extents / 1e3 / Median(samples.extents)});
}

void Compare(const Samples& samples, Report& report) {
  const double write = Median(samples.fio_write);
  report.Ratio("read/fio", Median(samples.read) / Median(samples.fio_read));
  report.Target("read/fio", 0.9);
  report.Ratio("write/fio", Median(samples.write) / write);
  report.Target("write/fio", 0.8);
  report.Ratio("durable/fio", Median(samples.durable) / write);
  report.Target("durable/fio", 0.4);
  report.Ratio("steady/fio", Median(samples.steady) / write);
  report.Target("steady/fio", 0.3);
  report.Ratio("1.25/amplification",
               1.25 / *std::max_element(samples.amplification.begin(), samples.amplification.end()));
  report.Target("1.25/amplification", 1);
  report.Ratio("recovery/1 M rows/s", Median(samples.rows));
  report.Target("recovery/1 M rows/s", 1);
  report.Baseline(samples.fio_read);
  report.Baseline(samples.fio_write);
}

int RunSpill(const SpillOptions& options) {
  KeepFreedBuffers();  // as the server does
  const std::string folder = options.folder + "/droidspeak-spill";
  Samples samples;
  std::filesystem::create_directories(folder);
  const absl::Status measured = Measure(options, folder, samples);
  std::filesystem::remove_all(folder);
  if (!measured.ok()) {
    std::cerr << "droidspeak-bench spill: " << measured.message() << "\n";
    return kExitFailed;
  }
  Report report("spill");
  Describe(options, samples, report);
  Compare(samples, report);
  report.Print(options.json);
  return kExitOk;
}

}  // namespace

Command AddSpillCommand(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("spill", "The RocksDB tier's reads, writes, eviction and recovery, interleaved with fio");
  auto* const options = new SpillOptions;  // lives as long as the program
  command->add_option("--folder", options->folder, "On the disk to measure; no tmpfs")->type_name("DIR");
  AddBytesOption(*command, "--extent", options->shape.extent_bytes, "Bytes of an extent, a power of two");
  AddBytesOption(*command, "--total", options->shape.total_bytes, "Bytes written and read a round");
  AddBytesOption(*command, "--limit", options->limit_bytes, "Disk limit of the steady state");
  command->add_option("--rows", options->rows, "Directory rows to recover")->check(CLI::Range(1, 16'000'000));
  command->add_option("--repeats", options->repeats, "Rounds measured")->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "One JSON object on standard output");
  return {command, [options] { return RunSpill(*options); }};
}

}  // namespace droidspeak::bench
