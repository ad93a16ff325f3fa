#include "c_api/schedule.h"

#include <algorithm>
#include <cmath>

#include "c_api/error.h"

namespace spar::c_api {
namespace {

// `count` numbers from `first` to `last`, in numpy's order of roundings.
std::vector<double> linspace(double first, double last, int64_t count) {
  std::vector<double> made(static_cast<size_t>(count), first);
  if (count < 2) return made;
  const double delta = last - first, step = delta / static_cast<double>(count - 1);
  for (int64_t i = 0; i < count; ++i)
    made[static_cast<size_t>(i)] =
        (step == 0 ? static_cast<double>(i) / static_cast<double>(count - 1) * delta : static_cast<double>(i) * step) +
        first;
  made.back() = last;
  return made;
}

double shifted(double sigma, double shift) { return shift * sigma / (1 + (shift - 1) * sigma); }

std::vector<double> noise_levels(const SamplerShape& sampler, int64_t steps) {
  std::vector<double> sigmas;
  if (sampler.euler) {
    for (const double level : linspace(1, 1 / static_cast<double>(steps), steps))
      sigmas.push_back(shifted(level, sampler.shift));
  } else {
    // Written as 1 - (1 .. 1/train_steps) because truncating 1000 * sigma to a timestep sees the last bit.
    for (const double level : linspace(1, 1 / static_cast<double>(sampler.train_steps), steps + 1))
      sigmas.push_back(shifted(1 - level, sampler.shift));
    std::reverse(sigmas.begin(), sigmas.end());
    sigmas.pop_back();
  }
  sigmas.push_back(0.0);
  return sigmas;
}

// Half the inverse ratio of neighbouring half-log-SNR steps, 0 where the step is first order.
std::vector<double> second_order(const std::vector<double>& sigmas) {
  const size_t steps = sigmas.size() - 1;
  std::vector<double> slope(steps, 0.0), snr(steps);
  if (steps < 3) return slope;
  for (size_t i = 0; i < steps; ++i) snr[i] = std::log1p(-sigmas[i]) - std::log(sigmas[i]);
  for (size_t i = 1; i + 1 < steps; ++i) slope[i] = (snr[i + 1] - snr[i]) / (2 * (snr[i] - snr[i - 1]));
  return slope;
}

}  // namespace

Schedule schedule(const SamplerShape& sampler, int64_t steps) {
  if (steps < 1 || steps > std::min<int64_t>(sampler.train_steps, 1000))
    throw InputError("steps=" + std::to_string(steps) + " is not a whole number from 1 to " +
                     std::to_string(std::min<int64_t>(sampler.train_steps, 1000)));
  const std::vector<double> sigmas = noise_levels(sampler, steps);
  const std::vector<double> slope =
      sampler.euler ? std::vector<double>(static_cast<size_t>(steps), 0.0) : second_order(sigmas);
  Schedule plan;
  for (const double sigma : sigmas) plan.sigmas.push_back(static_cast<float>(sigma));
  for (size_t i = 0; i < slope.size(); ++i) {
    const double time = sigmas[i] * static_cast<double>(sampler.train_steps), keep = sigmas[i + 1] / sigmas[i];
    plan.timesteps.push_back(static_cast<float>(sampler.euler ? time : std::trunc(time)));
    plan.a.push_back(static_cast<float>(keep));
    plan.b.push_back(static_cast<float>((1 - keep) * (1 + slope[i])));
    plan.c.push_back(static_cast<float>((keep - 1) * slope[i]));
  }
  return plan;
}

void advance(const Schedule& plan, size_t index, std::vector<float>& latent, const float* velocity,
             std::vector<float>& previous) {
  const float sigma = plan.sigmas[index], a = plan.a[index], b = plan.b[index], c = plan.c[index];
  const bool second = c != 0 && !previous.empty();
  previous.resize(latent.size());
  for (size_t i = 0; i < latent.size(); ++i) {
    const float data = latent[i] - sigma * velocity[i];
    float next = a * latent[i];
    next += b * data;
    if (second) next += c * previous[i];
    latent[i] = next;
    previous[i] = data;
  }
}

}  // namespace spar::c_api
