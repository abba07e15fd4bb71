"""What the benchmark makes of its figures: statistics, the table, results.json and the chart."""

import json
import statistics
from xml.sax.saxutils import escape

OURS = "gradgraph"


class Results:
    """Measurements by (workload, system, metric), in the order in which they came."""

    def __init__(self):
        self.runs = {}

    def add(self, workload, system, metric, value):
        self.runs.setdefault((workload, system, metric), []).append(value)

    def median(self, workload, system, metric):
        return statistics.median(self.runs[workload, system, metric])

    def workloads(self, metric):
        return list(dict.fromkeys(w for w, _, m in self.runs if m == metric))

    def systems(self, workload, metric):
        """Fastest first."""
        systems = [s for w, s, m in self.runs if (w, m) == (workload, metric)]
        return sorted(systems, key=lambda system: self.median(workload, system, metric))

    def best_peer(self, workload, metric):
        """The system with the least median, gradgraph left out, or None."""
        peers = [s for s in self.systems(workload, metric) if s != OURS]
        return peers[0] if peers else None

    def ratio(self, workload, system, metric):
        """How many times less it takes than the best peer; None where there is no peer."""
        best = self.best_peer(workload, metric)
        if best is None:
            return None
        return self.median(workload, best, metric) / self.median(workload, system, metric)

    def records(self):
        return [{"workload": workload, "system": system, "metric": metric,
                 "median": statistics.median(runs), "runs": runs}
                for (workload, system, metric), runs in self.runs.items()]

    def write_json(self, path):
        path.write_text(json.dumps(self.records(), indent=1) + "\n", encoding="utf-8")


def format_rows(header, rows):
    """Columns as wide as they must be; all but the first two are figures."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(row):
        cells = [cell.ljust(width) if i < 2 else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        return "| " + " | ".join(cells) + " |"

    rules = ["-" * (width + 2) if i < 2 else " " + "-" * (width - 1) + ": "
             for i, width in enumerate(widths)]
    rule = "|" + "|".join(rules) + "|"
    return "\n".join([line(header), rule, *map(line, rows)])


def table(results, metric, digits=2):
    """A row per workload and system; the ratio is to the best peer, above 1 where it is less."""
    rows = []
    for workload in results.workloads(metric):
        for system in results.systems(workload, metric):
            runs = results.runs[workload, system, metric]
            ratio = results.ratio(workload, system, metric)
            rows.append([workload, system,
                         *(f"{value:.{digits}f}" for value in
                           (min(runs), statistics.median(runs), max(runs))),
                         "-" if ratio is None else f"{ratio:.2f}x", str(len(runs))])
    return format_rows(
        ["workload", "system", "min", "median", "max", "best peer / this", "runs"], rows)


def chart(results, metric, title):
    """An SVG of horizontal bars: a group per workload, whiskers from least to most."""
    left, right, bar, gap, top = 250, 560, 18, 26, 44
    lines, y = [], top
    for workload in results.workloads(metric):
        systems = results.systems(workload, metric)
        longest = max(max(results.runs[workload, s, metric]) for s in systems)
        lines.append(f'<text x="12" y="{y + 4}" font-weight="bold">{escape(workload)}</text>')
        y += 12
        for system in systems:
            runs = results.runs[workload, system, metric]
            least, median, most = (
                value / longest * right for value in
                (min(runs), statistics.median(runs), max(runs)))
            colour = "#c8442c" if system == OURS else "#8a9db0"
            middle = y + bar / 2
            lines += [
                f'<text x="{left - 8}" y="{middle + 4:.1f}" text-anchor="end">'
                f'{escape(system)}</text>',
                f'<rect x="{left}" y="{y}" width="{median:.1f}" height="{bar - 3}" '
                f'fill="{colour}"/>',
                f'<path d="M{left + least:.1f} {middle - 1.5}H{left + most:.1f}" '
                f'stroke="#333"/>',
                f'<text x="{left + most + 8:.1f}" y="{middle + 3:.1f}">'
                f'{statistics.median(runs):.2f}</text>',
            ]
            y += bar
        y += gap
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right + 80}" height="{y}" '
        f'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="20" font-size="15">{escape(title)}</text>', *lines, "</svg>", ""])
