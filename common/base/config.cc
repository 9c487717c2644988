// SPDX-License-Identifier: Apache-2.0
#include "common/base/config.h"

#include <yaml-cpp/yaml.h>

#include <iostream>
#include <map>
#include <set>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/bytes.h"
#include "common/base/log.h"

namespace droidspeak {

// Turns a YAML file into CLI11's items, so that CLI11 lets flags override it and counts it for required options. Errors
// are CLI::ConfigError with file and line.
class Program::YamlConfig : public CLI::Config {
 public:
  explicit YamlConfig(CLI::App& app) : app_(app) {}

  // Nothing of ours writes configuration files.
  std::string to_config(const CLI::App*, bool, bool, std::string) const override { return {}; }

  std::vector<CLI::ConfigItem> from_config(std::istream& input) const override {
    YAML::Node root;
    try {
      root = YAML::Load(input);
    } catch (const YAML::ParserException& error) {
      throw CLI::ConfigError(absl::StrCat(Place(error.mark), ": ", error.msg));
    }
    if (root.IsNull()) return {};
    if (!root.IsMap()) throw CLI::ConfigError(Place(root.Mark()) + ": expected `option: value` lines");
    std::vector<CLI::ConfigItem> items;
    std::set<std::string> seen;
    for (const auto& entry : root) {
      CLI::ConfigItem item = ReadItem(entry.first, entry.second);
      if (!seen.insert(item.name).second) {
        throw CLI::ConfigError(absl::StrCat(Place(entry.first.Mark()), ": '", item.name, "' is there twice"));
      }
      places_["--" + item.name] = Place(entry.second.Mark());
      items.push_back(std::move(item));
    }
    return items;
  }

  // `message` with file and line before it if it is about an option whose value the file gave.
  std::string Locate(const std::string& message) const {
    for (const auto& [option, place] : places_) {
      if (absl::StartsWith(message, option + ":") || absl::StrContains(message, " " + option + " ")) {
        return absl::StrCat(place, ": ", message);
      }
    }
    return message;
  }

 private:
  std::string Place(const YAML::Mark& mark) const {
    return absl::StrCat(app_.get_config_ptr()->as<std::string>(), ":", mark.line + 1);
  }

  // The application that has the option: the subcommand in use, or the program itself.
  CLI::App* FindOwner(const std::string& option) const {
    std::vector<CLI::App*> candidates = app_.get_subcommands();
    candidates.push_back(&app_);
    for (CLI::App* candidate : candidates) {
      const CLI::Option* found = candidate->get_option_no_throw(option);
      if (found != nullptr && found->get_configurable()) return candidate;
    }
    return nullptr;
  }

  CLI::ConfigItem ReadItem(const YAML::Node& key, const YAML::Node& value) const {
    CLI::ConfigItem item;
    if (!key.IsScalar()) throw CLI::ConfigError(Place(key.Mark()) + ": expected the name of an option");
    item.name = key.Scalar();
    const CLI::App* owner = FindOwner("--" + item.name);
    if (owner == nullptr) throw CLI::ConfigError(absl::StrCat(Place(key.Mark()), ": unknown key '", item.name, "'"));
    if (owner != &app_) item.parents = {owner->get_name()};
    if (value.IsScalar()) {
      item.inputs = {value.Scalar()};
    } else if (value.IsSequence()) {
      for (const YAML::Node& element : value) item.inputs.push_back(ReadElement(item.name, element));
    }
    if (item.inputs.empty()) {
      throw CLI::ConfigError(absl::StrCat(Place(key.Mark()), ": '", item.name, "' needs a value or a list of values"));
    }
    return item;
  }

  std::string ReadElement(const std::string& name, const YAML::Node& element) const {
    if (element.IsScalar()) return element.Scalar();
    throw CLI::ConfigError(absl::StrCat(Place(element.Mark()), ": '", name, "' takes a list of plain values"));
  }

  CLI::App& app_;
  mutable std::map<std::string, std::string> places_;
};

Program::Program(const std::string& name, const std::string& purpose)
    : app_(purpose, name), yaml_(std::make_shared<YamlConfig>(app_)) {
  app_.option_defaults()->always_capture_default();
  app_.fallthrough();
  app_.set_version_flag("--version", absl::StrCat(name, " ", DROIDSPEAK_VERSION));
  app_.set_config("--config", "", "YAML file of options; flags override it")->type_name("FILE");
  app_.config_formatter(yaml_);
  app_.add_option("--log-level", log_level_, "Messages on standard error")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->type_name("LEVEL");
}

Program::~Program() = default;

std::optional<int> Program::Parse(int argc, const char* const* argv) {
  // Debian builds Abseil with its search for deadlocks, which looks up every lock that is taken in one table of the
  // process, under a lock of its own. Tests keep it.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  try {
    app_.parse(argc, argv);
  } catch (const CLI::Success& done) {
    return app_.exit(done);
  } catch (const CLI::ParseError& error) {
    return UsageError(app_, yaml_->Locate(error.what()));
  }
  if (const absl::Status status = StartLog(app_.get_name(), log_level_); !status.ok()) {
    return UsageError(app_, std::string(status.message()));
  }
  return std::nullopt;
}

void AddTlsOptions(CLI::App& app, TlsFiles& files, const std::string& whose) {
  app.add_option("--tls-cert", files.certificate, "Certificate of " + whose + " with its chain (PEM)")
      ->type_name("FILE");
  app.add_option("--tls-key", files.key, "Its private key (PEM, without a passphrase)")->type_name("FILE");
  app.add_option("--tls-ca", files.ca, "Authorities whose signature is believed in the other end's certificate (PEM)")
      ->type_name("FILE");
}

int UsageError(const CLI::App& app, const std::string& message) {
  std::cerr << app.get_name() << ": " << message << "\nTry " << app.get_name() << " --help.\n";
  return kExitUsage;
}

namespace {

// An option whose text `parse` turns into a T or refuses.
template <typename T, typename ParseFunction>
CLI::Option* AddParsedOption(CLI::App& app, const std::string& name, T& value, const std::string& help,
                             ParseFunction parse) {
  const auto store = [&value, name, parse](const std::string& text) {
    absl::StatusOr<T> parsed = parse(text);
    if (!parsed.ok()) throw CLI::ValidationError(name, std::string(parsed.status().message()));
    value = *std::move(parsed);
  };
  return app.add_option_function<std::string>(name, store, help);
}

absl::StatusOr<absl::Duration> ParseDuration(const std::string& text) {
  absl::Duration duration;
  if (absl::ParseDuration(text, &duration) && duration >= absl::ZeroDuration()) return duration;
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is no duration, expected one such as 250ms or 1h30m"));
}

}  // namespace

CLI::Option* AddBytesOption(CLI::App& app, const std::string& name, uint64_t& value, const std::string& help) {
  return AddParsedOption(app, name, value, help, [](const std::string& text) { return ParseBytes(text); })
      ->type_name("SIZE")
      ->default_str(FormatBytes(value));
}

CLI::Option* AddDurationOption(CLI::App& app, const std::string& name, absl::Duration& value, const std::string& help) {
  return AddParsedOption(app, name, value, help, ParseDuration)
      ->type_name("DURATION")
      ->default_str(absl::FormatDuration(value));
}

CLI::Option* AddHostPortOption(CLI::App& app, const std::string& name, HostPort& value, const std::string& help) {
  CLI::Option* option =
      AddParsedOption(app, name, value, help, [](const std::string& text) { return HostPort::Parse(text); });
  option->type_name("HOST:PORT");
  if (!value.host.empty()) option->default_str(value.ToString());
  return option;
}

}  // namespace droidspeak
