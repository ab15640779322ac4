"""How well the cap finds and follows a modelled provider's capacity, with seeds that no test uses:
`python tests/policy/measure_concurrency.py`. The figures of docs/traffic.md."""

from __future__ import annotations

import statistics

from test_concurrency import UNBOUNDED, Provider

from headgate.policy.concurrency import Concurrency

SEEDS = range(10, 20)


def told(shares: list[float]) -> str:
    near = sum(0.8 <= share <= 1.2 for share in shares)
    spread = f"{min(shares):.2f} to {max(shares):.2f}"
    return f"median {statistics.median(shares):.2f}, {spread}, within 20 %: {near} of {len(shares)}"


def main() -> None:
    for queue, name in ((UNBOUNDED, "queues"), (0, "turns away")):
        for spread in (0.3, 0.8):
            found, followed = [], []
            for capacity in (20, 100):
                for seed in SEEDS:
                    provider = Provider(Concurrency(), capacity, queue=queue, spread=spread, seed=seed)
                    provider.run(60)
                    found.append(provider.run(120)[0] / capacity)
                    for then in (capacity // 2, capacity):
                        provider.capacity = then
                        provider.run(60)
                        followed.append(provider.run(120)[0] / then)
            print(f"{name}, spread {spread}: finds {told(found)}; follows {told(followed)}")


if __name__ == "__main__":
    main()
