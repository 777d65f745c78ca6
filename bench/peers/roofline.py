"""The roofline of a machine as SVG: products as points under the read bandwidth and the fastest product
of their kind, and every kernel of idefics_bench as a bar, its share of its own ceiling.
"""

import math
import statistics

COLOURS = {"f32": "#1f77b4", "bf16": "#d62728", "nf4": "#2ca02c"}
WIDTH, PLOT, ROW, LEFT, BOTTOM = 720, 400, 14, 60, 40
X_BEGIN, X_END = -0.5, 3.2  # powers of ten


def text(x, y, words, **attributes):
    extra = "".join(f' {name.replace("_", "-")}="{value}"' for name, value in attributes.items())
    return f'<text x="{x:.1f}" y="{y:.1f}"{extra}>{words}</text>'


def points(rows):
    """Logarithmic axes: flops per byte, GFLOP/s."""
    read = statistics.median(row["read_bytes_per_second"] for row in rows) / 1e9
    peaks = {}
    for row in rows:
        peaks[row["compute"]] = max(peaks.get(row["compute"], 0), row["flops"] / row["seconds"] / 1e9)
    y_end = math.ceil(math.log10(max(peaks.values())))

    def at(intensity, gflops):
        x = LEFT + (math.log10(intensity) - X_BEGIN) / (X_END - X_BEGIN) * (WIDTH - LEFT - 10)
        y = PLOT - BOTTOM - math.log10(gflops) / y_end * (PLOT - BOTTOM - 10)
        return x, y

    parts = [
        text(WIDTH / 2, PLOT - 8, "flops per byte of the weight", text_anchor="middle"),
        f'<text transform="translate(14,{PLOT / 2}) rotate(-90)" text-anchor="middle">GFLOP/s</text>',
    ]
    for power in range(0, 4):
        x, y = at(10**power, 1)
        parts.append(text(x, y + 14, 10**power, text_anchor="middle"))
    for power in range(0, y_end + 1):
        x, y = at(10**X_BEGIN, 10**power)
        parts.append(text(x - 6, y, 10**power, text_anchor="end"))
    for i, (compute, top) in enumerate(peaks.items()):
        begin = max(10**X_BEGIN, 1 / read)
        corners = [at(begin, begin * read), at(top / read, top), at(10**X_END, top)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{COLOURS[compute]}"/>')
        parts.append(text(LEFT + 20, 24 + 14 * i, compute, fill=COLOURS[compute]))
    for row in rows:
        x, y = at(row["flops"] / row["bytes"], row["flops"] / row["seconds"] / 1e9)
        name = f'{row["compute"]}, {row["m"]} x {row["n"]} x {row["k"]}'
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{COLOURS[row["compute"]]}">'
            f"<title>{name}</title></circle>"
        )
    return parts


def bars(kernels, top):
    """Shares of ceilings; a line marks a share of 1."""
    names, scale = 300, (WIDTH - 320) / 1.5
    parts = [text(names, top - 6, "share of the ceiling", font_weight="bold")]
    for i, kernel in enumerate(kernels):
        y, share = top + i * ROW, kernel["share"]
        colour = "#7f7f7f" if kernel["unit"] == "GB/s" else "#1f77b4"
        length = min(share, 1.4) * scale
        parts.append(text(names - 8, y + ROW - 4, kernel["name"], text_anchor="end"))
        parts.append(
            f'<rect x="{names}" y="{y + 2}" width="{length:.1f}" height="{ROW - 4}" fill="{colour}">'
            f'<title>{share} of {kernel["ceiling"]}</title></rect>'
        )
        parts.append(text(names + length + 4, y + ROW - 4, share))
    end = top + len(kernels) * ROW
    parts.append(f'<path d="M{names + scale:.1f},{top}V{end}" stroke="black" stroke-dasharray="3"/>')
    return parts


def draw(rows, kernels):
    height = PLOT + (len(kernels) * ROW + 50 if kernels else 0)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        *points(rows),
    ]
    if kernels:
        parts += bars(kernels, PLOT + 30)
    return "\n".join(parts + ["</svg>"]) + "\n"
