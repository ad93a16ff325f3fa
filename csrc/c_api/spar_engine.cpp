// spar.h: loading, describing, cancelling.
#include <sched.h>

#include <thread>

#include "c_api/boundary.h"

using namespace spar::c_api;

namespace {

int usable_processors() {
#if defined(__linux__)
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_COUNT(&allowed) > 0) return CPU_COUNT(&allowed);
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

const char* precision_name(spar_precision precision) {
  switch (precision) {
    case SPAR_FP32: return "fp32";
    case SPAR_BF16: return "bf16";
    case SPAR_INT8: return "int8";
    case SPAR_INT4: return "int4";
  }
  throw spar::InputError("spar_load_options.precision=" + std::to_string(static_cast<int>(precision)) +
                         " is unknown; use SPAR_FP32, SPAR_BF16, SPAR_INT8 or SPAR_INT4");
}

}  // namespace

const char* spar_version(void) { return SPAR_VERSION; }

void spar_load_options_init(spar_load_options* options) {
  if (options) *options = {sizeof *options, SPAR_BF16, 0, 0, nullptr, nullptr};
}

spar_status spar_load(const char* directory, const spar_load_options* options, spar_engine** engine) {
  if (engine) *engine = nullptr;
  return guarded([&] {
    const spar_load_options o = options_of(options, spar_load_options_init, "spar_load_options");
    const auto threads = static_cast<int>(in_range("spar_load_options.threads", o.threads, 0, 1024));
    const bool pin = in_range("spar_load_options.pin", o.pin, 0, 1) != 0;
    spar_engine*& made = required(engine, "engine");
    const char* precision = precision_name(o.precision);
    made = new spar_engine{{&required(directory, "directory"), o.dit_position ? o.dit_position : "", precision,
                            threads ? threads : usable_processors(), pin, o.isa ? o.isa : ""},
                           {},
                           o.precision};
    made->name = made->engine.config().name;
  });
}

spar_status spar_prepare(spar_engine* engine) {
  return guarded([&] { required(engine, "engine").engine.prepare(); });
}

void spar_close(spar_engine* engine) { delete engine; }

spar_status spar_describe(const spar_engine* engine, spar_about* about) {
  return guarded([&] {
    const spar_engine& known = required(engine, "engine");
    const ModelConfig& config = known.engine.config();
    const double side = static_cast<double>(config.dit.whole("sample_size") * config.decoder.upscale());
    // Names are literals, so they end with a 0.
    required(about, "about") = {known.name.c_str(),
                                spar::name(known.engine.runner().model().isa()).data(),
                                known.precision,
                                known.engine.runner().model().threads(),
                                static_cast<int32_t>(side * 0.875),
                                static_cast<int32_t>(config.language.whole("max_positions"))};
  });
}

spar_status spar_cancel_create(spar_cancel** cancel) {
  if (cancel) *cancel = nullptr;
  return guarded([&] { required(cancel, "cancel") = new spar_cancel; });
}

void spar_cancel_set(spar_cancel* cancel) {
  if (cancel) cancel->set.store(true, std::memory_order_relaxed);
}

void spar_cancel_clear(spar_cancel* cancel) {
  if (cancel) cancel->set.store(false, std::memory_order_relaxed);
}

void spar_cancel_free(spar_cancel* cancel) { delete cancel; }
