"""The reference matrix product in ZigZag; run by an interpreter that has it, prints one JSON object.

ZigZag charges an access by its port's full width, so each port's energy is that of all its bits. Every move of an
operand has a port of its own: with fewer the latency is two or three times as long, whatever the bandwidth.
"""

from __future__ import annotations

import json
import logging
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

SIZE, SIDE, BITS = 1024, 16, 16
DRAM_PJ_BIT, BUFFER_PJ_BIT, REGISTER_PJ_BIT, MAC_PJ = 8.0, 1.0, 0.1, 1.0
DRAM_BITS, BUFFER_BITS = 256, 1024  # per cycle: 32 and 128 GB/s at 1 GHz
WORKLOAD = [
    {
        "id": 0,
        "operator_type": "Gemm",
        "equation": "O[m][n]+=I[m][k]*W[k][n]",
        "loop_dims": ["M", "N", "K"],
        "loop_sizes": [SIZE, SIZE, SIZE],
        "operand_precision": {"W": BITS, "I": BITS, "O": BITS, "O_final": BITS},
        "operand_source": {"I": 0, "W": 0},
    }
]
MAPPING = [
    {
        "name": "default",
        "spatial_mapping": {"D1": [f"N, {SIDE}"], "D2": [f"K, {SIDE}"]},
        "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
    }
]


def memory(operands: list[str], size: float, bits: int, pj_bit: float, served: list[str]) -> dict[str, Any]:
    """A memory with one port for each move of each operand, at its full width."""
    moves = [(o, move) for o in operands for move in (("fh", "tl", "fl", "th") if o == "O" else ("fh", "tl"))]
    kinds = {"fh": "write", "tl": "read", "fl": "write", "th": "read"}
    ports = [
        {
            "name": f"{kinds[move][0]}_port_{number}",
            "type": kinds[move],
            "bandwidth_min": BITS,
            "bandwidth_max": bits,
            "allocation": [f"{operand}, {move}"],
        }
        for number, (operand, move) in enumerate(moves, start=1)
    ]
    cost = bits * pj_bit
    return {
        "size": size,
        "r_cost": cost,
        "w_cost": cost,
        "area": 0,
        "latency": 1,
        "operands": operands,
        "ports": ports,
        "served_dimensions": served,
    }


def accelerator() -> dict[str, Any]:
    """The small reference array: a weight register in each element, a buffer that weights bypass, DRAM."""
    both = ["D1", "D2"]
    return {
        "name": "reference_a16",
        "memories": {
            "register": memory(["I2"], BITS, BITS, REGISTER_PJ_BIT, []),
            "buffer": memory(["I1", "O"], 256 * 1024 * 8, BUFFER_BITS, BUFFER_PJ_BIT, both),
            "dram": memory(["I1", "I2", "O"], 10**11, DRAM_BITS, DRAM_PJ_BIT, both),
        },
        "operational_array": {
            "input_precision": [BITS, BITS],
            "unit_energy": MAC_PJ,
            "unit_area": 1,
            "dimensions": both,
            "sizes": [SIDE, SIDE],
        },
    }


def processor_seconds() -> float:
    """Processor time of this process and of those it has started and waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main(engine: str, limit: int) -> None:
    """Search for the least energy with one of ZigZag's engines."""
    import yaml
    from zigzag.api import get_hardware_performance_zigzag

    logging.disable(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name, content in (("workload", WORKLOAD), ("mapping", MAPPING), ("accelerator", accelerator())):
            paths[name] = str(Path(folder) / f"{name}.yaml")
            Path(paths[name]).write_text(yaml.safe_dump(content, sort_keys=False))
        started = processor_seconds()
        energy, latency, evaluations = get_hardware_performance_zigzag(
            **paths,
            temporal_mapping_search_engine=engine,
            opt="energy",
            dump_folder=folder,
            lpf_limit=limit,
            loma_show_progress_bar=False,
        )
        seconds = processor_seconds() - started
    split = {str(k): [float(x) for x in v] for k, v in evaluations[0][0].mem_energy_breakdown.items()}
    found = {
        "energy_j": energy * 1e-12,
        "latency_s": latency * 1e-9,
        "seconds": seconds,
        "memories_pj": split,
    }
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
