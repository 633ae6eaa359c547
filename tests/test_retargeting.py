"""Laws of retargeting: segments turn as in the recording, feet stand, bones stay."""

import dataclasses
import json
import random
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest
import reference

from data.motion import find_motions
from kinpose import (
    Joint,
    build_skeleton,
    joint_transforms,
    limit_skeleton,
    pose,
    rotate_skeleton,
    scale_skeleton,
)
from kinpose.footing import foot_contacts, runs_of
from kinpose.frames import frames_of, params_from
from kinpose.io.bvh import load_bvh, save_bvh
from kinpose.people import body_parts, match_people
from kinpose.retargeting import retarget
from kinpose.skeletons import human_17
from tests.conftest import ROOT, robot_file

SIDES = ("Left", "Right")
BENDS = [
    (f"{side}{a}", f"{side}{b}", f"{side}{c}")
    for side in SIDES
    for a, b, c in (("UpLeg", "Leg", "Foot"), ("Arm", "ForeArm", "Hand"))
]
ANKLES = ("LeftFoot", "RightFoot")
TO_HUMAN = {
    "pelvis": "Hips",
    "spine": "Chest",
    "skull": "Neck",
    **{
        f"{side.lower()}_{joint}": f"{side}{name}"
        for side in SIDES
        for joint, name in (
            *(("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot")),
            *(("shoulder", "Arm"), ("elbow", "ForeArm"), ("wrist", "Hand")),
        )
    },
}


@pytest.fixture(scope="module")
def walk():
    return load_bvh(ROOT / "data" / "motions" / "walk.bvh")


def same_names(skeleton):
    return {name: name for name in skeleton.names}


def of_other_proportions(skeleton):
    """Legs x 0.75, arms x 1.25."""
    offsets = np.array(skeleton.offsets)
    factors = {"Leg": 0.75, "Foot": 0.75, "ForeArm": 1.25, "Hand": 1.25}
    for side in SIDES:
        for name, factor in factors.items():
            offsets[skeleton.names.index(f"{side}{name}")] *= factor
    return dataclasses.replace(skeleton, offsets=offsets)


def bend_deg(places, skeleton, names):
    a, b, c = (places[:, skeleton.names.index(name)] for name in names)
    cosine = np.sum(unit(b - a) * unit(c - b), axis=1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def feet_of(skeleton):
    return [j for j, name in enumerate(skeleton.names) if "Foot" in name or "Toe" in name]


def test_frames_are_those_of_forward_kinematics_and_lead_back_to_the_angles(walk, x64):
    skeleton, params, _ = walk
    turns, places = frames_of(params, skeleton)
    want = jax.jit(joint_transforms)(params, skeleton)
    np.testing.assert_allclose(turns, want[0], atol=1e-12)
    np.testing.assert_allclose(places, want[1], atol=1e-10)
    again = params_from(turns, skeleton)
    slides = ~np.array(skeleton.is_angle)
    np.testing.assert_allclose(frames_of(again, skeleton)[0], turns, atol=1e-12)
    assert not again[:, slides].any()


def test_angles_of_any_skeleton_come_near_its_rotations():
    rng = np.random.default_rng(0)
    for _ in range(5):
        skeleton = reference.random_skeleton(rng, 3, 6)
        params = rng.normal(size=(3, skeleton.num_dofs)) * 0.3
        turns, _ = frames_of(params, skeleton)
        want = [reference.frames(p, skeleton)[:, :3, :3] for p in params]
        np.testing.assert_allclose(turns, want, atol=1e-12)
        assert np.isfinite(params_from(turns, skeleton)).all()


def test_onto_itself_a_recording_is_itself(walk):
    skeleton, params, _ = walk
    found = retarget(params, skeleton, skeleton, same_names(skeleton))
    ours, theirs = (frames_of(p, skeleton)[1] for p in (found, params))
    np.testing.assert_allclose(ours, theirs, atol=1e-9)


@pytest.mark.parametrize("dof", ["left_hip_abduction", "left_knee_flexion", "spine_roll"])
def test_angles_that_count_from_elsewhere_change_no_pose(dof):
    """A motion's bias, and the rest pose in which it is made up for."""
    human, rest = human_17(), np.zeros(27)
    rest[human.dof_index(dof)] = -0.3
    motions = tuple(
        tuple(dataclasses.replace(m, bias=0.3) if m.dof == dof else m for m in own)
        for own in human.motions
    )
    target = dataclasses.replace(human, motions=motions)
    params = np.zeros((5, 27))
    for name, angle in (("hip_flexion", 0.5), ("knee_flexion", 0.8), ("hip_rotation", 0.2)):
        params[:, human.dof_index(f"left_{name}")] = angle
    found = retarget(params, human, target, same_names(human), target_rest=rest)
    ours, theirs = frames_of(found, target)[1], frames_of(params, human)[1]
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("path", find_motions(), ids=lambda path: path.stem)
def test_other_proportions_keep_knees_elbows_floor_and_standing_feet(path):
    skeleton, params, frame_time_s = load_bvh(path)
    target = of_other_proportions(skeleton)
    contacts = foot_contacts(params, skeleton, ANKLES, frame_time_s)
    found = retarget(params, skeleton, target, same_names(target), contacts=contacts)
    theirs, ours = frames_of(params, skeleton)[1], frames_of(found, target)[1]
    for names in BENDS:
        bends = [bend_deg(places, skeleton, names) for places in (theirs, ours)]
        np.testing.assert_allclose(*bends, atol=2.0)
    floor = 0.75 * np.percentile(theirs[:, feet_of(skeleton), 1].min(axis=1), 5)
    assert ours[:, feet_of(skeleton), 1].min() > floor - 0.5  # cm
    for name, stands in contacts.items():
        for run in runs_of(stands):
            path = ours[run, skeleton.names.index(name)][:, [0, 2]]
            assert np.linalg.norm(path - path.mean(axis=0), axis=1).max() < 1.0  # cm
    height = [places[:, skeleton.names.index("Hips"), 1].mean() for places in (theirs, ours)]
    assert 0.7 < height[1] / height[0] < 0.85


def test_axes_and_units_of_the_target_are_its_own(walk):
    skeleton, params, _ = walk
    turn = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])  # z up
    target = scale_skeleton(rotate_skeleton(skeleton, turn), 10.0)  # mm
    found = retarget(params, skeleton, target, same_names(target))
    want = 10.0 * frames_of(params, skeleton)[1] @ turn.T
    np.testing.assert_allclose(frames_of(found, target)[1], want, atol=1e-7)


def with_arms_sideways(skeleton):
    """A T-pose, as most recorders have."""
    offsets = np.array(skeleton.offsets)
    for side, sign in (("Left", -1), ("Right", 1)):
        for name in ("ForeArm", "Hand"):
            joint = skeleton.names.index(f"{side}{name}")
            offsets[joint] = [0, 0, sign * np.linalg.norm(offsets[joint])]
    return dataclasses.replace(skeleton, offsets=offsets)


@pytest.mark.parametrize("there", [True, False])
def test_arms_point_alike_from_rest_poses_that_differ(walk, there):
    skeleton, params, _ = walk
    sideways = with_arms_sideways(skeleton)
    want = frames_of(params, skeleton)[1]
    found = retarget(params, skeleton, sideways, same_names(skeleton))
    if there:
        np.testing.assert_allclose(frames_of(found, sideways)[1], want, atol=1e-9)
    else:
        back = retarget(found, sideways, skeleton, same_names(skeleton))
        np.testing.assert_allclose(frames_of(back, skeleton)[1], want, atol=1e-9)


def test_a_rest_pose_that_does_not_stand_may_be_replaced(walk):
    skeleton, params, _ = walk
    offsets = np.array(skeleton.offsets)
    legs = [skeleton.names.index(f"{side}{name}") for side in SIDES for name in ("Leg", "Foot")]
    offsets[legs] = -offsets[legs][:, [1, 0, 2]]  # sits, legs forwards
    sitting = dataclasses.replace(skeleton, offsets=offsets)
    with pytest.raises(ValueError, match=r"the target must stand upright .* by target_rest="):
        retarget(params, skeleton, sitting, same_names(skeleton))
    quarter = {"UpLeg": -np.pi / 2, "Foot": np.pi / 2}
    turns = {f"{s}{name}_Zrotation": x for s in SIDES for name, x in quarter.items()}
    standing = pose(sitting, **turns)
    found = retarget(params, skeleton, sitting, same_names(skeleton), target_rest=standing)
    ours, theirs = frames_of(found, sitting)[1], frames_of(params, skeleton)[1]
    np.testing.assert_allclose(ours[:, legs], theirs[:, legs], atol=1e-5)  # of a float32 pose


@pytest.mark.parametrize("name", ["walk", "kick", "spinkick", "roll"])
def test_hinges_of_a_human_bend_as_the_recording_does(name):
    source, params, _ = load_bvh(ROOT / "data" / "motions" / f"{name}.bvh")
    human = human_17()
    found = retarget(params, source, human, TO_HUMAN)
    theirs, ours = frames_of(params, source)[1], frames_of(found, human)[1]
    to_left_up_forwards = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])
    own = {theirs: ours for ours, theirs in TO_HUMAN.items()}
    for first, middle, last in BENDS:
        want = bend_deg(theirs, source, (first, middle, last))
        flexion = np.degrees(found[:, human.dof_index(f"{own[middle]}_flexion")])
        np.testing.assert_allclose(np.abs(flexion), want, atol=0.1)
        for start, end in ((first, middle), (middle, last)):
            a, b = (theirs[:, source.names.index(n)] @ to_left_up_forwards.T for n in (start, end))
            c, d = (ours[:, human.names.index(own[n])] for n in (start, end))
            np.testing.assert_allclose(unit(d - c), unit(b - a), atol=5e-3)


def test_a_human_comes_back_from_a_skeleton_of_balls(walk):
    human, rng = human_17(), np.random.default_rng(0)
    steps = rng.normal(size=(12, 27)) * 0.05
    steps[0] = rng.normal(size=27) * 0.2
    params = np.cumsum(steps, axis=0)
    for side in ("left", "right"):
        for joint in ("knee", "elbow"):
            params[:, human.dof_index(f"{side}_{joint}_flexion")] += 1.0
    balls = walk.skeleton
    there = retarget(params, human, balls, {b: h for h, b in TO_HUMAN.items()})
    back = retarget(there, balls, human, TO_HUMAN)
    angles = np.array(human.is_angle)
    turns = [frames_of(p, human)[0] for p in (back, params)]
    np.testing.assert_allclose(*turns, atol=1e-9)
    np.testing.assert_allclose(back[:, angles], params[:, angles], atol=1e-7)


def test_angles_stay_within_limits_and_it_is_said_which_are_held_how_often(walk):
    knee, most = human_17().dof_index("left_knee_flexion"), np.radians(30)
    free = retarget(walk.params, walk.skeleton, human_17(), TO_HUMAN)
    beyond = free[:, knee] > most
    assert 0 < beyond.mean() < 1
    held = limit_skeleton(human_17(), {"left_knee_flexion": (-0.5, most)})
    degrees = round(np.degrees(free[:, knee].max()) - 30)
    text = rf"hold {beyond.mean():.0%} of the frames: left_knee_flexion in {beyond.mean():.0%}, "
    with pytest.warns(UserWarning, match=text + f"by up to {degrees} degrees"):
        found = retarget(walk.params, walk.skeleton, held, TO_HUMAN)
    np.testing.assert_allclose(found[:, knee], np.minimum(free[:, knee], most), atol=1e-9)
    others = np.delete(np.arange(27), [*range(3), knee])
    np.testing.assert_allclose(found[:, others], free[:, others], atol=1e-9)


def test_what_limits_hold_is_said_where_feet_stand_too(walk):
    held = limit_skeleton(human_17(), {"left_elbow_flexion": (0.0, 0.1)})
    contacts = foot_contacts(walk.params, walk.skeleton, ANKLES, walk.frame_time_s)
    said = []
    for stands in (None, contacts):
        with pytest.warns(UserWarning, match="hold 100% of the frames: left_elbow") as found:
            retarget(walk.params, walk.skeleton, held, TO_HUMAN, contacts=stands)
        said += [str(x.message) for x in found]
    assert said[0] == said[1]


def test_angles_that_whole_turns_bring_within_limits_are_not_held(walk):
    knee = human_17().dof_index("left_knee_flexion")
    turns = limit_skeleton(human_17(), {"left_knee_flexion": (1.5 * np.pi, 2.9 * np.pi)})
    free = retarget(walk.params, walk.skeleton, human_17(), TO_HUMAN)
    found = retarget(walk.params, walk.skeleton, turns, TO_HUMAN)
    np.testing.assert_allclose(found[:, knee], free[:, knee] + 2 * np.pi, atol=1e-9)


def in_hinges(skeleton):
    """Joints that turn about several axes as chains of hinges, as robots have them."""
    joints = []
    for name, parent, offset, motions in zip(
        skeleton.names, skeleton.parents, skeleton.offsets, skeleton.motions, strict=True
    ):
        slides = [m for m in motions if m.kind == "t"]
        turns = [m for m in motions if m.kind == "r"] or [None]
        above = skeleton.names[parent] if parent >= 0 else None
        for number, turn in enumerate(turns):
            last = number == len(turns) - 1
            own = name if last else f"{name}_{number}"
            moved = slides + ([turn] if turn else [])
            joints.append(Joint(own, above, tuple(offset), moved))
            above, offset, slides = own, np.zeros(3), []
    return build_skeleton(joints)


def test_chains_of_hinges_turn_as_the_joints_that_they_make_up(walk):
    human = human_17()
    robot = in_hinges(human)
    assert robot.dof_names == human.dof_names
    assert max(map(len, robot.motions[1:])) == 1
    balls, hinges = (retarget(walk.params, walk.skeleton, s, TO_HUMAN) for s in (human, robot))
    np.testing.assert_allclose(hinges, balls, atol=1e-6)


def test_a_robot_walks_as_the_recording_does(walk):
    robots = pytest.importorskip("kinpose.io.robots")
    path = robot_file("g1_description/urdf/g1_29dof_rev_1_0.urdf")
    robot = robots.load_urdf(path, floating=True).skeleton
    names = {"pelvis": "Hips", "torso_link": "Chest"}
    for side in SIDES:
        joints = (("hip_yaw", "UpLeg"), ("knee", "Leg"), ("ankle_roll", "Foot"))
        joints += (("shoulder_yaw", "Arm"), ("elbow", "ForeArm"), ("wrist_yaw", "Hand"))
        names |= {f"{side.lower()}_{a}_link": f"{side}{b}" for a, b in joints}
    contacts = foot_contacts(walk.params, walk.skeleton, ANKLES, walk.frame_time_s)
    with warnings.catch_warnings(record=True) as said:  # of what limits hold
        warnings.simplefilter("always")
        found = retarget(walk.params, walk.skeleton, robot, names, contacts=contacts)
    assert all("the target's limits hold" in str(x.message) for x in said)
    ours, theirs = frames_of(found, robot)[1], frames_of(walk.params, walk.skeleton)[1]
    own = {theirs: ours for ours, theirs in names.items()}
    to_z_up = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    for side in SIDES:
        limb = f"{side}UpLeg", f"{side}Foot"
        a, b = (theirs[:, walk.skeleton.names.index(name)] @ to_z_up.T for name in limb)
        first = f"{side.lower()}_hip_pitch_link"
        c, d = (ours[:, robot.names.index(name)] for name in (first, own[limb[1]]))
        assert np.degrees(np.arccos(np.sum(unit(b - a) * unit(d - c), axis=1))).max() < 10
        for run in runs_of(contacts[f"{side}Foot"]):
            path = ours[run, robot.names.index(own[f"{side}Foot"]), :2]
            assert np.linalg.norm(path - path.mean(axis=0), axis=1).max() < 0.01
    low, high = robot.limits.T
    assert ((found >= low) & (found <= high)).all()


@pytest.mark.parametrize("clip", ["02_01", "05_06_cgspeed"])
def test_limbs_of_cmu_recordings_point_alike(cmu_dir, walk, clip):
    source, params, _ = load_bvh(cmu_dir / f"{clip}.bvh")
    target = walk.skeleton
    names, legs = match_people(source, target)
    found = retarget(params, source, target, names, legs=legs)
    theirs, ours = frames_of(params, source)[1], frames_of(found, target)[1]
    axes = np.array([[0.0, 0, 1], [0, 1, 0], [-1, 0, 0]])  # from x left, z forwards
    for leg in legs:
        for start, end in ((leg.hip, leg.knee), (leg.knee, leg.ankle)):
            a, b = (theirs[:, source.names.index(names[n])] @ axes.T for n in (start, end))
            c, d = (ours[:, target.names.index(n)] for n in (start, end))
            np.testing.assert_allclose(unit(d - c), unit(b - a), atol=1e-6)


def test_contacts_are_where_a_foot_is_low_and_still():
    bones = [
        Joint("root", None, (0, 0, 0), "tx ty tz"),
        *(Joint(name, "root", (x, -1, 0), "tx ty tz") for name, x in (("a", -0.1), ("b", 0.1))),
    ]
    skeleton = build_skeleton(bones)
    params = np.zeros((30, 9))
    params[10:, skeleton.dof_index("a_tx")] = np.minimum(np.arange(20) * 0.1, 1.0)  # at 1 m/s
    params[:, skeleton.dof_index("b_ty")] = 0.3
    stands = foot_contacts(params, skeleton, ("a", "b"), 0.1)
    assert not stands["b"].any()
    np.testing.assert_array_equal(np.flatnonzero(~stands["a"]), np.arange(11, 20))


REFUSED = [
    ({"params": np.zeros((0, 57))}, r"params must have shape \(T, 57\)"),
    ({"params": np.zeros((4, 3))}, r"params must have shape \(T, 57\).*\(4, 3\)"),
    ({"params": np.full((4, 57), np.nan)}, "params must be finite"),
    ({"name_map": {"Hips": "Hopes"}}, "'Hopes', which is no joint of the source"),
    ({"name_map": {"Hops": "Hips"}}, "'Hops', which is no joint of the target"),
    ({"name_map": {}}, "expected two unbranched chains"),
    ({"name_map": {"Hips": "Hips", "LeftLeg": "LeftLeg"}}, "name the legs by legs="),
    ({"contacts": {"LeftFoot": np.zeros(39)}}, r"contacts must have \(39,\) flags .*'RightFoot'"),
    ({"contacts": dict.fromkeys(ANKLES, np.zeros(3))}, r"but for 'RightFoot' have \(3,\)"),
    ({"source_rest": np.zeros(3)}, r"source_rest must have shape \(57,\)"),
    ({"legs": (("x", "y", "z"), ("u", "v", "w"))}, "the target has no 'x'"),
]


def test_contacts_of_no_frames_are_refused_as_their_motion_is(walk):
    args = walk.skeleton, ANKLES, walk.frame_time_s
    with pytest.raises(ValueError, match=r"must have shape \(T, 57\).* but got \(0, 57\)"):
        foot_contacts(walk.params[:0], *args)
    with pytest.raises(ValueError, match="params must be finite"):
        foot_contacts(np.full_like(walk.params, np.nan), *args)


def test_contacts_are_the_same_below_a_root_on_the_floor(tmp_path, walk):
    lines = (ROOT / "data" / "motions" / "walk.bvh").read_text().splitlines()
    at, channels = (
        lines.index("MOTION"),
        "Xposition Yposition Zposition Zrotation Xrotation Yrotation",
    )
    head = ["HIERARCHY", "ROOT Reference", "{", "OFFSET 0 0 0", f"CHANNELS 6 {channels}"]
    head += [lines[1].replace("ROOT", "JOINT"), *lines[2:at], "}", *lines[at : at + 3]]
    frames = [f"0 0 0 0 0 0 {line}" for line in lines[at + 3 :] if line]
    (tmp_path / "x.bvh").write_text("\n".join([*head, *frames, ""]))
    found = [
        foot_contacts(x.params, x.skeleton, ("LeftFoot", "RightFoot"), x.frame_time_s)
        for x in (walk, load_bvh(tmp_path / "x.bvh"))
    ]
    for name, stands in found[0].items():
        assert stands.any()
        np.testing.assert_array_equal(found[1][name], stands)


def test_the_program_takes_clips_of_one_rig_whose_hips_hang_on_more_joints(cmu_dir, tmp_path):
    done = run(cmu_dir / "02_01.bvh", cmu_dir / "35_01.bvh", tmp_path / "x.bvh")
    assert done.returncode == 0, done.stderr
    assert "joints by name" in done.stdout


@pytest.mark.parametrize(("change", "message"), REFUSED, ids=[text for _, text in REFUSED])
def test_arguments_are_checked(walk, change, message):
    skeleton, params, _ = walk
    names = change.pop("name_map", same_names(skeleton))
    params = change.pop("params", params)
    with pytest.raises(ValueError, match=message):
        retarget(params, skeleton, skeleton, names, **change)


def test_a_root_that_cannot_slide_is_refused(walk):
    skeleton, params, _ = walk
    motions = (skeleton.motions[0][3:], *skeleton.motions[1:])
    rest = {"dof_names": skeleton.dof_names[3:], "limits": skeleton.limits[3:]}
    held = dataclasses.replace(skeleton, motions=motions, **rest)
    with pytest.raises(ValueError, match="root must slide along three axes"):
        retarget(params, skeleton, held, same_names(skeleton))


def test_odd_maps_give_finite_motion_or_the_error(walk):
    skeleton, params, _ = walk
    rng, outcomes = random.Random(0), set()
    for _ in range(60):
        names = same_names(skeleton)
        for name in rng.sample(skeleton.names, rng.randrange(6)):
            names[name] = rng.choice(skeleton.names)
        for name in rng.sample(skeleton.names, rng.randrange(3)):
            del names[name]
        try:
            found = retarget(params[:3], skeleton, skeleton, names)
        except ValueError:
            outcomes.add("error")
        else:
            assert np.isfinite(found).all()
            outcomes.add("motion")
    assert outcomes == {"motion", "error"}


def run(*args):
    command = [sys.executable, "-m", "kinpose", "retarget", *map(str, args)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_the_program_writes_the_motion_for_the_other_skeleton(tmp_path, walk):
    target = of_other_proportions(walk.skeleton)
    files = "data/motions/walk.bvh", tmp_path / "target.bvh", tmp_path / "out" / "walk.bvh"
    save_bvh(files[1], target, np.zeros((1, target.num_dofs)), 0.1)
    (tmp_path / "names.json").write_text(json.dumps(same_names(target)))
    done = run(*files, f"--names={tmp_path}/names.json")
    assert done.returncode == 0, done.stderr
    assert "39 frames, 18 joints by name; feet stand in" in done.stdout
    skeleton, params, frame_time_s = load_bvh(files[2])
    np.testing.assert_allclose(skeleton.offsets, target.offsets, atol=1e-5)
    assert frame_time_s == pytest.approx(walk.frame_time_s)
    places = [frames_of(p, s)[1] for s, p, _ in (walk, (skeleton, params, 0))]
    bends = [bend_deg(x, skeleton, BENDS[0]) for x in places]
    np.testing.assert_allclose(*bends, atol=0.1)
    for text, message in (("{", "expected JSON"), ('["Hips"]', "expected an object")):
        (tmp_path / "wrong.json").write_text(text)
        wrong = run(*files, f"--names={tmp_path}/wrong.json", "--overwrite")
        assert wrong.returncode != 0
        assert f"wrong.json: {message}" in wrong.stderr
    again = run(*files)
    assert again.returncode != 0
    assert "walk.bvh exists; give --overwrite" in again.stderr


def test_the_program_knows_the_human(tmp_path, walk):
    done = run("data/motions/walk.bvh", "human_17", tmp_path / "human.bvh", "--nofeet")
    assert done.returncode == 0, done.stderr
    skeleton, params, _ = load_bvh(tmp_path / "human.bvh")
    ours, theirs = frames_of(params, skeleton)[1], frames_of(walk.params, walk.skeleton)[1]
    own = "left_hip", "left_knee", "left_ankle"
    bends = bend_deg(ours, skeleton, own), bend_deg(theirs, walk.skeleton, BENDS[0])
    np.testing.assert_allclose(*bends, atol=0.1)


def test_the_parts_of_a_person_are_found_by_names_and_tree(walk):
    human = body_parts(human_17())
    assert {human["pelvis"], human["chest"], human["head"]} == {"pelvis", "neck", "skull"}
    recorded = body_parts(walk.skeleton)
    assert {part: recorded[part] for part in ("pelvis", "chest", "head")} == {
        "pelvis": "Hips",
        "chest": "Chest",
        "head": "Neck",
    }
    assert not {"spine", "neck", "left_clavicle"} & set(recorded)
    assert match_people(walk.skeleton, walk.skeleton)[1][0] == ("LeftUpLeg", "LeftLeg", "LeftFoot")
    with pytest.raises(ValueError, match="layout"):
        match_people(build_skeleton([Joint("a"), Joint("b", "a")]), walk.skeleton)


def test_spine_neck_and_collar_bones_are_parts_where_they_are(cmu_dir):
    parts = body_parts(load_bvh(cmu_dir / "02_01.bvh").skeleton)
    trunk = ("pelvis", "spine", "chest", "neck", "head", "left_clavicle")
    want = ["root", "lowerback", "thorax", "lowerneck", "head", "lclavicle"]
    assert [parts[part] for part in trunk] == want
