"""The kinds of clip that the frame-accuracy suite writes, by file name."""

from __future__ import annotations

from fractions import Fraction

from conical.workbench.frame_accuracy.clip_files import ClipKind

_GROUP = 12
_H264 = {"crf": "8", "preset": "veryfast", "g": str(_GROUP), "bf": "0"}
_B_FRAMES = {**_H264, "bf": "3", "b_strategy": "0"}
_ONE_KEY_FRAME = {**_B_FRAMES, "g": "250"}
_OPEN = "open-gop=1:keyint=8:min-keyint=8:bframes=3:b-adapt=0:scenecut=0"
_OPEN_GOP = {"crf": "8", "preset": "veryfast", "x264-params": _OPEN}
_HEVC = {"preset": "ultrafast", "x265-params": "log-level=none:crf=8:open-gop=0:keyint=12:bframes=3:pools=none"}
_HEVC_OPEN = {"preset": "ultrafast", "x265-params": f"log-level=none:crf=8:pools=none:{_OPEN}"}
# the coarse default quantiser of older codecs moves colours
_FINE = {"qmin": "1", "qmax": "2", "g": str(_GROUP)}
_FINE_B = {**_FINE, "bf": "2"}
_VPX = {"crf": "6", "b": "0", "deadline": "realtime", "cpu-used": "8", "g": str(_GROUP)}
# invisible frames that later ones refer to
_ALT_REF = {**_VPX, "deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16"}
_AV1 = {"preset": "8", "crf": "5", "svtav1-params": "lp=1", "g": str(_GROUP)}
_KEEP_NEGATIVE = {"avoid_negative_ts": "disabled"}
_UNEVEN = tuple(40 * index + 9 * (index % 3) for index in range(30))
_LATE = tuple(5000 + 40 * index for index in range(30))

_PLAIN = {
    "h264_closed_gop.mp4": ClipKind(options=_H264),
    **{f"h264_b_frames.{suffix}": ClipKind(options=_B_FRAMES) for suffix in ("mp4", "mov", "mkv", "avi", "ts", "flv")},
    "h264_one_key_frame.mp4": ClipKind(options=_ONE_KEY_FRAME),
    "h264_one_key_frame.avi": ClipKind(options=_ONE_KEY_FRAME),
    "h264_fragmented.mp4": ClipKind(options=_B_FRAMES, muxer_options={"movflags": "frag_keyframe+empty_moov"}),
    "h264_open_gop.mp4": ClipKind(options=_OPEN_GOP),
    "h264_open_gop.mkv": ClipKind(options=_OPEN_GOP),
    "h264_open_gop.avi": ClipKind(options=_OPEN_GOP),
    "hevc_b_frames.mp4": ClipKind(codec="libx265", options=_HEVC),
    "hevc_open_gop.mp4": ClipKind(codec="libx265", options=_HEVC_OPEN),
    **{f"mpeg4.{suffix}": ClipKind(codec="mpeg4", options=_FINE) for suffix in ("avi", "mp4", "mkv")},
    **{f"mpeg4_b_frames.{suffix}": ClipKind(codec="mpeg4", options=_FINE_B) for suffix in ("avi", "mp4", "mkv")},
    "mpeg2_b_frames.mpg": ClipKind(codec="mpeg2video", options=_FINE_B),
    "mjpeg.avi": ClipKind(codec="mjpeg", options=_FINE, pixel_format="yuvj420p"),
    "wmv2.asf": ClipKind(codec="wmv2", options=_FINE),
    "flv1.flv": ClipKind(codec="flv", options=_FINE),
    "vp8.webm": ClipKind(codec="libvpx", options=_VPX),
    "vp9.webm": ClipKind(codec="libvpx-vp9", options=_VPX),
    "vp9_hidden_frames.webm": ClipKind(codec="libvpx-vp9", options=_ALT_REF),
    "vp9.mp4": ClipKind(codec="libvpx-vp9", options=_VPX),
    "av1.mp4": ClipKind(codec="libsvtav1", options=_AV1),
}
_COLOURS = {
    "h264_10_bit.mp4": ClipKind(options=_B_FRAMES, pixel_format="yuv420p10le"),
    "hevc_10_bit.mp4": ClipKind(codec="libx265", options=_HEVC, pixel_format="yuv420p10le"),
    "h264_422.mp4": ClipKind(options=_B_FRAMES, pixel_format="yuv422p"),
    "h264_444.mp4": ClipKind(options=_B_FRAMES, pixel_format="yuv444p"),
    "h264_full_range.mp4": ClipKind(options=_B_FRAMES, pixel_format="yuvj420p"),
    "h264_bt709.mp4": ClipKind(options=_B_FRAMES, is_bt709=True),
}
_TIMES = {
    "variable_rate.mp4": ClipKind(options=_B_FRAMES, ticks=_UNEVEN),
    "variable_rate.mkv": ClipKind(options=_B_FRAMES, ticks=_UNEVEN),
    "variable_rate.webm": ClipKind(codec="libvpx-vp9", options=_VPX, ticks=_UNEVEN),
    "late_start.mp4": ClipKind(options=_B_FRAMES, ticks=_LATE),
    "late_start.mkv": ClipKind(options=_B_FRAMES, ticks=_LATE),
    "late_start.ts": ClipKind(options=_B_FRAMES, ticks=_LATE),
    "one_frame.mp4": ClipKind(options=_H264, num_frames=1),
    "one_frame.avi": ClipKind(codec="mpeg4", options=_FINE, num_frames=1),
    "trimmed_by_edit_list.mp4": ClipKind(options=_B_FRAMES, muxer_options=_KEEP_NEGATIVE, edit="edit_list"),
    "open_gop_cut.mp4": ClipKind(options=_OPEN_GOP, edit="cut"),
    "open_gop_cut.mkv": ClipKind(options=_OPEN_GOP, edit="cut"),
    "hevc_open_gop_cut.mp4": ClipKind(codec="libx265", options=_HEVC_OPEN, edit="cut"),
}
_SHAPES = {
    **{f"rotated_{angle}.mp4": ClipKind(options=_B_FRAMES, rotation_degrees=angle) for angle in (90, 180, 270)},
    "rotated_90.mkv": ClipKind(options=_B_FRAMES, rotation_degrees=90),
    "rotated_90_bt709.mp4": ClipKind(options=_B_FRAMES, rotation_degrees=90, is_bt709=True),
    "mirrored.mp4": ClipKind(options=_B_FRAMES, is_mirrored=True),
    "upside_down_mirrored.mp4": ClipKind(options=_B_FRAMES, is_mirrored=True, rotation_degrees=180),
    "rotated_90_mirrored.mp4": ClipKind(options=_B_FRAMES, is_mirrored=True, rotation_degrees=90),
    "rotated_270_mirrored.mp4": ClipKind(options=_B_FRAMES, is_mirrored=True, rotation_degrees=270),
    "wide_pixels.mp4": ClipKind(options=_B_FRAMES, sample_aspect=Fraction(4, 3)),
    "wide_pixels.avi": ClipKind(codec="mpeg4", options=_FINE, sample_aspect=Fraction(4, 3)),
    "wide_pixels.mkv": ClipKind(options=_B_FRAMES, sample_aspect=Fraction(4, 3)),
    "tall_pixels.mp4": ClipKind(options=_B_FRAMES, sample_aspect=Fraction(1, 2)),
    "wide_pixels_rotated_90.mp4": ClipKind(options=_B_FRAMES, sample_aspect=Fraction(4, 3), rotation_degrees=90),
    "odd_size.mp4": ClipKind(options=_B_FRAMES, pixel_format="yuv444p", width=95, height=63),
    "odd_size.avi": ClipKind(codec="mpeg4", options=_FINE, width=95, height=63),
    "odd_size.webm": ClipKind(codec="libvpx-vp9", options=_VPX, width=95, height=63),
    "width_48.mp4": ClipKind(options=_B_FRAMES, width=48, height=64),
    "size_changes.h264": ClipKind(options=_B_FRAMES, edit="two_sizes"),
    "size_changes.avi": ClipKind(options=_B_FRAMES, edit="two_sizes"),
    "size_changes.mp4": ClipKind(options=_B_FRAMES, edit="two_sizes"),
    "size_changes.ts": ClipKind(options=_B_FRAMES, edit="two_sizes"),
    "size_changes.mkv": ClipKind(options=_B_FRAMES, edit="two_sizes"),
    "size_changes.webm": ClipKind(codec="libvpx-vp9", options=_VPX, edit="two_sizes"),
}
KINDS: dict[str, ClipKind] = {**_PLAIN, **_COLOURS, **_TIMES, **_SHAPES}
