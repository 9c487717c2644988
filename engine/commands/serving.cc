// SPDX-License-Identifier: Apache-2.0
#include "engine/commands/serving.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/bytes.h"
#include "common/base/log.h"
#include "common/base/metrics.h"
#include "common/base/status.h"
#include "engine/server/api.h"
#include "engine/tokenizer/stop.h"

namespace droidspeak {
namespace {

// Of the grace time, what answers' last bytes and stores get.
constexpr absl::Duration kFlushTime = absl::Seconds(5);
constexpr int kConnections = 1024;
constexpr int kRequestTimeoutMs = 30'000;

// Clients see it, who need not know where it is.
std::string FolderName(const std::string& path) {
  const std::filesystem::path folder = std::filesystem::path(path).lexically_normal();
  return (folder.has_filename() ? folder : folder.parent_path()).filename().string();
}

// Whose cache may be used, checked against the receiver.
absl::StatusOr<ContextSender> OpenSender(const ServingSender& given, const Plan& plan, const Model& receiver,
                                         RemoteCache& cache, int64_t block_tokens) {
  ASSIGN_OR_RETURN(const ModelPath path, ParseModelPath(given.model));
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(path.dir));
  RETURN_IF_ERROR(CheckSameShape(config, receiver.config()));
  ASSIGN_OR_RETURN(const int64_t common, CommonVocabulary(path.dir, config, receiver.path().dir, receiver.config()));
  ASSIGN_OR_RETURN(ModelNamespaces namespaces, cache.OpenModel(given.model, config, receiver.dtype(), block_tokens));
  return ContextSender{.name = FolderName(path.dir) + (path.adapter.empty() ? "" : "+" + FolderName(path.adapter)),
                       .namespaces = std::move(namespaces),
                       .common_vocabulary = common,
                       .plan = plan};
}

}  // namespace

// In the order in which they are made; destroyed in the opposite one.
class Serving::Parts {
 public:
  absl::Status Start(const ServingOptions& options);
  bool Stop(absl::Duration grace);

  [[nodiscard]] const HttpServer& http() const { return *http_; }
  [[nodiscard]] const Scheduler& scheduler() const { return *scheduler_; }
  [[nodiscard]] const std::string& served_name() const { return served_[0].name; }

 private:
  absl::Status Check(const ServingOptions& options);
  absl::Status CheckAdapters(const std::vector<ServingAdapter>& adapters);
  absl::Status LoadAdapters(const std::vector<ServingAdapter>& adapters);
  absl::Status LoadText();
  absl::Status OpenCaches(const ServingOptions& options);
  absl::Status StartScheduler(const ServingOptions& options);
  absl::Status StartApi(const ServingOptions& options);

  Metrics metrics_;
  EngineMetrics engine_metrics_{metrics_};
  std::shared_ptr<const Model> model_;
  ApiModelText text_;
  std::vector<Plan> plans_;  // of the senders
  std::vector<std::string> api_keys_;
  std::vector<ServedModel> served_;  // the model, then its adapters
  std::vector<int64_t> e_layers_;
  std::shared_ptr<const ChatTemplate> chat_template_;
  std::unique_ptr<RemoteCache> cache_;
  std::unique_ptr<StoreQueue> stores_;
  std::unique_ptr<ContextOpener> contexts_;
  std::unique_ptr<Scheduler> scheduler_;
  std::unique_ptr<Api> api_;
  std::unique_ptr<HttpServer> http_;
};

// What can be known to be wrong before anything large is read.
absl::Status Serving::Parts::Check(const ServingOptions& options) {
  ASSIGN_OR_RETURN(const ModelPath path, ParseModelPath(options.model));
  ASSIGN_OR_RETURN(const ModelConfig config, LoadModelConfig(path.dir));
  served_.push_back({.name = options.served_name.empty() ? FolderName(path.dir) : options.served_name});
  if (!options.adapters.empty() && !path.adapter.empty()) {
    return UsageStatus(absl::StrCat("--adapter: expected a --model without an adapter, not '", options.model, "'"));
  }
  RETURN_IF_ERROR(CheckAdapters(options.adapters));
  ASSIGN_OR_RETURN(e_layers_, ParseKeepE(options.keep_e, config.layers));
  for (const ServingSender& given : options.senders) {
    PlanOptions plan;
    (given.runs ? plan.runs : plan.triples).push_back(given.plan);
    ASSIGN_OR_RETURN(const std::vector<Plan> parsed, plan.Parse(config.layers));
    plans_.push_back(parsed[0]);
  }
  if (!options.engine.servers.empty()) {
    const absl::StatusOr<std::vector<ServerAddress>> addresses = ParseServers(options.engine.servers);
    if (!addresses.ok()) return UsageStatus(absl::StrCat("--servers: ", addresses.status().message()));
  }
  if (!options.api_key_file.empty()) {
    ASSIGN_OR_RETURN(api_keys_, ReadApiKeys(options.api_key_file));
  }
  return absl::OkStatus();
}

absl::Status Serving::Parts::CheckAdapters(const std::vector<ServingAdapter>& adapters) {
  for (const ServingAdapter& adapter : adapters) {
    const auto same = [&](const ServedModel& other) { return other.name == adapter.name; };
    if (std::any_of(served_.begin(), served_.end(), same)) {
      return UsageStatus(absl::StrCat("--adapter: '", adapter.name, "' is the name of two models"));
    }
    served_.push_back({.name = adapter.name});
  }
  return absl::OkStatus();
}

absl::Status Serving::Parts::LoadAdapters(const std::vector<ServingAdapter>& adapters) {
  for (size_t i = 0; i < adapters.size(); ++i) {
    ASSIGN_OR_RETURN(served_[i + 1].adapter, RuntimeAdapter::Load(adapters[i].dir, model_));
  }
  return absl::OkStatus();
}

absl::Status Serving::Parts::LoadText() {
  const std::string& dir = model_->path().dir;
  ASSIGN_OR_RETURN(text_.tokenizer, Tokenizer::Load(dir));
  ASSIGN_OR_RETURN(text_.eos, ReadEosIds(dir));
  absl::StatusOr<std::unique_ptr<ChatTemplate>> chat_template = ChatTemplate::Load(dir);
  if (chat_template.ok()) {
    chat_template_ = *std::move(chat_template);
  } else if (!absl::IsNotFound(chat_template.status())) {
    return chat_template.status();
  }
  return absl::OkStatus();
}

absl::Status Serving::Parts::OpenCaches(const ServingOptions& options) {
  if (options.engine.servers.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(cache_, RemoteCache::Connect(options.engine.servers, options.engine.tls));
  const int64_t block_tokens = options.engine.block_tokens;
  for (ServedModel& served : served_) {
    const std::string spec =
        served.adapter == nullptr ? options.model : absl::StrCat(options.model, "+", served.adapter->dir());
    if (served.adapter != nullptr) {  // the name of their cache is made of that
      ASSIGN_OR_RETURN(const ModelPath path, ParseModelPath(spec));
      if (path.adapter != served.adapter->dir()) {
        return absl::InvalidArgumentError(absl::StrCat("adapter '", served.name, "': '", spec, "' is a folder, too"));
      }
    }
    ASSIGN_OR_RETURN(served.own, cache_->OpenModel(spec, model_->config(), model_->dtype(), block_tokens));
  }
  std::vector<ContextSender> senders;
  for (size_t i = 0; i < options.senders.size(); ++i) {
    ASSIGN_OR_RETURN(ContextSender sender, OpenSender(options.senders[i], plans_[i], *model_, *cache_, block_tokens));
    senders.push_back(std::move(sender));
  }
  stores_ = std::make_unique<StoreQueue>(*cache_, model_->config());
  contexts_ = std::make_unique<ContextOpener>(*cache_, model_->config().layers, e_layers_, std::move(senders));
  return absl::OkStatus();
}

absl::Status Serving::Parts::StartScheduler(const ServingOptions& options) {
  const ModelConfig& config = model_->config();
  const int64_t token_bytes =
      2 * config.layers * config.kv_heads * config.head_dim * static_cast<int64_t>(DtypeBytes(model_->dtype()));
  SchedulerOptions scheduling{.max_running = options.max_running, .max_waiting = options.max_waiting};
  // More than all answers could use would never be touched.
  scheduling.slots =
      std::min(static_cast<int64_t>(options.kv_bytes / token_bytes), (options.max_running + 1) * config.max_positions);
  if (scheduling.slots < 2) {
    return UsageStatus(absl::StrCat("--kv-memory ", FormatBytes(options.kv_bytes), " holds ", scheduling.slots,
                                    " tokens of ", FormatBytes(token_bytes), "; expected 2 or more"));
  }
  scheduling.e_layers = e_layers_;
  ASSIGN_OR_RETURN(scheduler_,
                   Scheduler::Start(model_, contexts_.get(), stores_.get(), engine_metrics_, std::move(scheduling)));
  return absl::OkStatus();
}

absl::Status Serving::Parts::StartApi(const ServingOptions& options) {
  api_ = std::make_unique<Api>(ApiOptions{.models = &served_,
                                          .vocab_size = model_->config().vocab_size,
                                          .text = text_,
                                          .chat_template = chat_template_,
                                          .api_keys = api_keys_},
                               *scheduler_, metrics_);
  HttpLimits limits;
  limits.connections = kConnections;
  limits.body_bytes = api_->most_body_bytes();
  limits.request_timeout_ms = kRequestTimeoutMs;
  ASSIGN_OR_RETURN(http_, HttpServer::Start(options.http, api_->Routes(), limits, &Api::HttpError));
  return absl::OkStatus();
}

absl::Status Serving::Parts::Start(const ServingOptions& options) {
  RETURN_IF_ERROR(Check(options));
  ASSIGN_OR_RETURN(const Dtype dtype, options.engine.ParsedDtype());
  ASSIGN_OR_RETURN(model_, Model::Load(options.model, dtype));
  RETURN_IF_ERROR(LoadAdapters(options.adapters));
  RETURN_IF_ERROR(LoadText());
  RETURN_IF_ERROR(OpenCaches(options));
  RETURN_IF_ERROR(StartScheduler(options));
  return StartApi(options);
}

bool Serving::Parts::Stop(absl::Duration grace) {
  const absl::Time start = absl::Now();
  api_->NotReady();
  http_->Drain();
  const bool ended = scheduler_->Drain(start + std::max(absl::ZeroDuration(), grace - kFlushTime));
  if (!ended) {
    spdlog::warn("answers that had not ended are cut off");
    scheduler_->EndAnswers();
  }
  if (stores_ != nullptr && !stores_->Drain(start + grace)) spdlog::warn("not everything is stored");
  http_->WaitIdle(start + grace);
  http_->Stop();
  return ended;
}

absl::StatusOr<std::unique_ptr<Serving>> Serving::Start(const ServingOptions& options) {
  auto parts = std::make_unique<Parts>();
  RETURN_IF_ERROR(parts->Start(options));
  return std::unique_ptr<Serving>(new Serving(std::move(parts)));
}

Serving::Serving(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}
Serving::~Serving() = default;

const HostPort& Serving::address() const {
  return parts_->http().address();
}

const std::string& Serving::served_name() const {
  return parts_->served_name();
}

int64_t Serving::max_tokens() const {
  return parts_->scheduler().max_tokens();
}

bool Serving::Stop(absl::Duration grace) {
  return parts_->Stop(grace);
}

}  // namespace droidspeak
