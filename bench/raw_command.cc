// SPDX-License-Identifier: Apache-2.0
// `droidspeak-bench raw`: what a transport moves by itself, beside the machine's own bounds.
#include <algorithm>
#include <cstring>
#include <iostream>
#include <vector>

#include "absl/time/clock.h"
#include "bench/command.h"
#include "bench/raw_load.h"
#include "bench/raw_messages.h"
#include "bench/report.h"
#include "bench/ucx_perftest.h"
#include "bench/verbs_perftest.h"
#include "common/base/bytes.h"
#include "common/base/status.h"

namespace droidspeak::bench {
namespace {

struct RawOptions {
  std::string transport = "local";
  std::string address;  // of the server process
  RawShape shape;
  int repeats = 5;
  bool json = false;
};

// ucx_perftest sends one message over and over: an extent's size stays in the processors' caches, this size does not,
// as a data set of extents does not.
constexpr uint64_t kColdMessageBytes = 256 << 20;

// Of perftest's latency.
constexpr uint64_t kSmallBytes = 64;
constexpr uint64_t kSmallMessages = 1000;

// Copies everything from one arena to another, extent by extent.
RawTimes Copy(const HostArena& from, HostArena& to, const RawShape& shape) {
  const absl::Time start = absl::Now();
  const double cpu = OwnCpuSeconds();
  for (uint64_t offset = 0; offset < shape.total_bytes(); offset += shape.extent_bytes) {
    std::memcpy(to.base() + offset, from.base() + offset, shape.extent_bytes);
  }
  return {.seconds = absl::ToDoubleSeconds(absl::Now() - start), .cpu_seconds = OwnCpuSeconds() - cpu};
}

struct Samples {
  std::vector<double> push, pull, push_cpu, pull_cpu, first_layer_ms, copy, copy_cpu;
  std::vector<double> am, tag, cold;                  // ucx_perftest
  std::vector<double> ib_write, ib_read, ib_latency;  // perftest
};

absl::Status MeasureUcxPerftest(const RawShape& shape, bool keep, Samples& samples) {
  ASSIGN_OR_RETURN(const double am, UcxPerftest("ucp_am_bw", shape.extent_bytes, shape.total_bytes()));
  ASSIGN_OR_RETURN(const double tag, UcxPerftest("tag_bw", shape.extent_bytes, shape.total_bytes()));
  ASSIGN_OR_RETURN(const double cold, UcxPerftest("tag_bw", kColdMessageBytes, shape.total_bytes()));
  if (!keep) return absl::OkStatus();
  samples.am.push_back(am / 1e9);
  samples.tag.push_back(tag / 1e9);
  samples.cold.push_back(cold / 1e9);
  return absl::OkStatus();
}

absl::Status MeasureVerbsPerftest(const RawShape& shape, bool keep, Samples& samples) {
  const uint64_t extents = std::max<uint64_t>(10, shape.total_bytes() / shape.extent_bytes);
  ASSIGN_OR_RETURN(const double write, VerbsPerftest("ib_write_bw", shape.extent_bytes, extents));
  ASSIGN_OR_RETURN(const double read, VerbsPerftest("ib_read_bw", shape.extent_bytes, extents));
  ASSIGN_OR_RETURN(const double latency, VerbsPerftest("ib_write_lat", kSmallBytes, kSmallMessages));
  if (!keep) return absl::OkStatus();
  samples.ib_write.push_back(write / 1e9);
  samples.ib_read.push_back(read / 1e9);
  samples.ib_latency.push_back(latency);
  return absl::OkStatus();
}

absl::Status Measure(const RawOptions& options, Samples& samples) {
  const RawShape& shape = options.shape;
  const double gigabytes = static_cast<double>(shape.total_bytes()) / 1e9;
  ASSIGN_OR_RETURN(const auto load, RawLoad::Create(options.transport, shape));
  ASSIGN_OR_RETURN(const auto source, HostArena::Create("raw-copy", shape.total_bytes()));
  for (int i = -1; i < options.repeats; ++i) {  // the first round warms up
    ASSIGN_OR_RETURN(const RawTimes push, load->Run(RawDirection::kPush));
    ASSIGN_OR_RETURN(const RawTimes pull, load->Run(RawDirection::kPull));
    const RawTimes copy = Copy(*source, load->arena(), shape);
    if (options.transport == "verbs") {
      RETURN_IF_ERROR(MeasureVerbsPerftest(shape, i >= 0, samples));
    } else if (options.transport != "local") {
      RETURN_IF_ERROR(MeasureUcxPerftest(shape, i >= 0, samples));
    }
    if (i < 0) continue;
    samples.push.push_back(gigabytes / push.seconds);
    samples.pull.push_back(gigabytes / pull.seconds);
    samples.push_cpu.push_back(push.cpu_seconds / gigabytes);
    samples.pull_cpu.push_back(pull.cpu_seconds / gigabytes);
    samples.first_layer_ms.push_back(1e3 * push.first_layer_seconds);
    samples.copy.push_back(gigabytes / copy.seconds);
    samples.copy_cpu.push_back(copy.cpu_seconds / gigabytes);
  }
  return absl::OkStatus();
}

void Compare(Report& report, const std::string& ratio, double value, const std::vector<double>& baseline,
             double target) {
  report.Ratio(ratio, value / Median(baseline));
  report.Target(ratio, target);
}

int RunRaw(const RawOptions& options) {
  Samples samples;
  if (const absl::Status measured = Measure(options, samples); !measured.ok()) {
    std::cerr << "raw: " << measured << "\n";
    return kExitFailed;
  }
  Report report("raw");
  report.Setting("transport", options.transport);
  report.Setting("extent_bytes", options.shape.extent_bytes);
  report.Setting("blocks", options.shape.blocks);
  report.Setting("layers", options.shape.layers);
  report.Setting("repeats", options.repeats);
  report.Result("push", "GB/s", samples.push);
  report.Result("pull", "GB/s", samples.pull);
  report.Result("push CPU, both ends", "s/GB", samples.push_cpu);
  report.Result("pull CPU, both ends", "s/GB", samples.pull_cpu);
  report.Result("push, first layer", "ms", samples.first_layer_ms);
  report.Result("memcpy, cold", "GB/s", samples.copy);
  report.Result("memcpy CPU", "s/GB", samples.copy_cpu);
  if (options.transport == "verbs") {
    report.Result("ib_write_bw", "GB/s", samples.ib_write);
    report.Result("ib_read_bw", "GB/s", samples.ib_read);
    report.Result("ib_write_lat, 64 bytes", "us", samples.ib_latency);
    report.Baseline(samples.ib_write);
    Compare(report, "push/ib_write_bw", Median(samples.push), samples.ib_write, 0.95);
    Compare(report, "pull/ib_read_bw", Median(samples.pull), samples.ib_read, 0.95);
  } else if (options.transport != "local") {
    if (const auto transport = FindTransport("ucx"); transport.ok()) report.Version("ucx", (*transport)->version());
    report.Result("ucx_perftest ucp_am_bw", "GB/s", samples.am);
    report.Result("ucx_perftest tag_bw", "GB/s", samples.tag);
    report.Result("ucx_perftest tag_bw, 256 MiB messages", "GB/s", samples.cold);
    const auto& best = Median(samples.am) > Median(samples.tag) ? samples.am : samples.tag;
    report.Baseline(best);
    Compare(report, "push/ucx_perftest", Median(samples.push), best, 0.8);
    Compare(report, "pull/ucx_perftest", Median(samples.pull), best, 0.8);
    report.Ratio("push/ucx_perftest, out of cache", Median(samples.push) / Median(samples.cold));
    report.Ratio("pull/ucx_perftest, out of cache", Median(samples.pull) / Median(samples.cold));
  } else {
    report.Baseline(samples.copy);
    Compare(report, "push/memcpy", Median(samples.push), samples.copy, 0.9);
    Compare(report, "pull/memcpy", Median(samples.pull), samples.copy, 0.9);
  }
  report.Print(options.json);
  return kExitOk;
}

void AddShape(CLI::App& command, RawOptions& options) {
  std::vector<std::string> transports = TransportNames();
  transports.emplace_back("tls");
  command.add_option("--transport", options.transport, "local, verbs, tcp, tls (tcp, encrypted) or ucx")
      ->check(CLI::IsMember(transports));
  AddBytesOption(command, "--extent", options.shape.extent_bytes, "Bytes of an extent");
  command.add_option("--blocks", options.shape.blocks, "Blocks")->check(CLI::Range(1, 4096));
  command.add_option("--layers", options.shape.layers, "Layers")->check(CLI::Range(1, 256));
}

}  // namespace

Command AddRawCommand(CLI::App& app) {
  CLI::App* const command =
      app.add_subcommand("raw", "Move extents between two processes by the transport alone: no index, no checksums");
  auto* const options = new RawOptions;  // lives as long as the program
  AddShape(*command, *options);
  command->add_option("--repeats", options->repeats, "Rounds measured")->check(CLI::Range(1, 1000));
  command->add_flag("--json", options->json, "One JSON object");
  return {command, [options] { return RunRaw(*options); }};
}

Command AddRawServerCommand(CLI::App& app) {
  CLI::App* const command = app.add_subcommand("raw-server", "The server process of `raw`");
  command->group("");  // not for people
  auto* const options = new RawOptions;
  AddShape(*command, *options);
  command->add_option("--address", options->address)->required();
  return {command, [options] {
            const absl::Status served = ServeRaw(options->transport, options->address, options->shape);
            if (served.ok()) return kExitOk;
            std::cerr << "raw-server: " << served << "\n";
            return kExitFailed;
          }};
}

}  // namespace droidspeak::bench
