"""Laws of robots: positions and orientations of MuJoCo, quaternions, names of what is refused."""

import contextlib
import importlib.util
import math
import pathlib
import random
import re
import sysconfig
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from kinpose import Joint, build_skeleton, limit_skeleton
from kinpose.io.robots import (
    load_mjcf,
    load_urdf,
    params_to_qpos,
    qpos_to_params,
    robot_of,
    save_urdf,
)
from kinpose.kinematics import joint_transforms
from kinpose.skeletons import HUMAN_LIMITS, human_17, toy

mujoco = pytest.importorskip("mujoco")

TOLERANCE = 1e-6  # metres, and entries of rotations; float64 leaves 1e-13

EVERYTHING = """
<mujoco>
  <compiler angle="degree"/>
  <worldbody>
    <body name="trunk" pos="0.1 0.2 1" euler="20 0 45">
      <freejoint name="root"/><geom size="0.1"/>
      <site name="eye" pos="0.1 0 0.1" euler="0 30 0"/><site name="trunk" pos="0 0 0.2"/>
      <site pos="0 1 0"/>
      <body name="arm" pos="0.3 0 0" euler="0 90 10">
        <joint name="turn" axis="1 2 3" pos="0.1 0 0.05" range="-100 50" ref="15"/>
        <joint name="push" type="slide" axis="0 1 1" range="-0.2 0.3"/>
        <joint name="twist" axis="0 0 1" pos="0 0.2 0" limited="false"/>
        <joint name="here" axis="0 1 0"/>
        <geom size="0.1"/>
        <body name="hand" pos="0 0 0.3" euler="10 20 30">
          <joint name="wrist" type="ball" pos="0 0.01 0"/><geom size="0.1"/>
          <body pos="0 0 0.1"><joint/><geom size="0.1"/></body>
        </body>
      </body>
      <body name="leg" pos="0 0 -0.5"><joint name="knee" axis="0 1 0" ref="10"/><geom size="0.1"/>
        <body name="foot" pos="0 0 -0.5" euler="90 0 0"><joint name="heel" axis="0 0 1"/>
          <geom size="0.1"/>
          <body name="toe" pos="0.1 0 0"><joint name="toes" type="slide"/><geom size="0.1"/></body>
        </body>
      </body>
    </body>
    <body name="ball" pos="0 0 3" euler="0 50 0"><freejoint/><geom size="0.1"/></body>
  </worldbody>
  <equality>
    <joint joint1="heel" joint2="knee" polycoef="0.3 -2 0 0 0"/>
    <joint joint1="toes" joint2="heel" polycoef="0.1 0.05 0 0 0"/>
    <joint joint1="turn" joint2="knee" polycoef="0 1 1 0 0" active="false"/>
  </equality>
</mujoco>
"""


def package_files(package, pattern):
    """Files of an installed package, which need not be importable."""
    spec = importlib.util.find_spec(package)
    return sorted(pathlib.Path(spec.submodule_search_locations[0]).glob(pattern)) if spec else []


ROBOT_DATA = pathlib.Path(
    sysconfig.get_paths()["purelib"], "cmeel.prefix", "share", "example-robot-data", "robots"
)
MODELS = [
    *package_files("gymnasium", "envs/mujoco/assets/*.xml"),
    *package_files("brax", "envs/assets/*.xml"),
    *(ROBOT_DATA / path for path in (
        "panda_description/urdf/panda.urdf",
        "ur_description/urdf/ur5_robot.urdf",
        "allegro_hand_description/urdf/allegro_right_hand.urdf",
        "solo_description/robots/solo12.urdf",
        "anymal_c_simple_description/urdf/anymal.urdf",
        "g1_description/urdf/g1_29dof_rev_1_0.urdf",
        "talos_data/robots/talos_full_v2.urdf",
    )),
]  # fmt: skip


def check_against_mujoco(robot, model, poses=4):
    """Bodies and sites stand where MuJoCo has them; poses go to `qpos` and back."""
    skeleton, data = robot.skeleton, mujoco.MjData(model)
    rng = np.random.default_rng(0)
    qpos = params_to_qpos(jnp.asarray(rng.normal(size=(poses, skeleton.num_dofs))), robot)
    turns, places = joint_transforms(qpos_to_params(qpos, robot), skeleton)
    turns = np.asarray(turns) @ robot.rest_rotations
    bodies = [(model.body(b).name or f"body_{b}", b) for b in range(1, model.nbody)]
    taken = {name for name, _ in bodies}
    sites = [(model.site(s).name, s) for s in range(model.nsite) if model.site_bodyid[s]]
    sites = [(f"{name}_site" if name in taken else name, s) for name, s in sites if name]
    assert skeleton.keypoint_names == tuple(name for name, _ in bodies + sites)
    for turn, place, pose in zip(turns, np.asarray(places), qpos, strict=True):
        data.qpos[:] = pose
        mujoco.mj_kinematics(model, data)
        for found, positions, frames in (
            (bodies, data.xpos, data.xmat),
            (sites, data.site_xpos, data.site_xmat),
        ):
            ours = [skeleton.names.index(name) for name, _ in found]
            theirs = [number for _, number in found]
            np.testing.assert_allclose(place[ours], positions[theirs], atol=TOLERANCE)
            frames = frames[theirs].reshape(-1, 3, 3)
            np.testing.assert_allclose(turn[ours], frames, atol=TOLERANCE)


def test_everything_that_a_skeleton_can_say_stands_as_in_mujoco(x64):
    model = mujoco.MjModel.from_xml_string(EVERYTHING)
    robot = robot_of(model)
    check_against_mujoco(robot, model)
    names = robot.skeleton.dof_names
    assert {"turn", "push", "twist", "here", "knee", "root_tx", "wrist_ry"} < set(names)
    assert not {"heel", "toes"} & set(names)
    limits = dict(zip(names, robot.skeleton.limits, strict=True))
    np.testing.assert_allclose(limits["turn"], np.radians([-100, 50]))
    assert not np.isfinite(limits["twist"]).any()


def test_the_coordinates_that_follow_others_do(x64):
    robot = robot_of(mujoco.MjModel.from_xml_string(EVERYTHING))
    params = np.random.default_rng(0).normal(size=robot.skeleton.num_dofs)
    qpos = np.asarray(params_to_qpos(jnp.asarray(params), robot))
    sizes = [{"free": 7, "ball": 4}.get(c.kind, 1) for c in robot.coordinates]
    at = dict(zip((c.name for c in robot.coordinates), np.cumsum(sizes) - 1, strict=True))
    knee = params[robot.skeleton.dof_index("knee")]
    heel = 0.3 - 2 * (knee - np.radians(10))  # MuJoCo's documentation: about the references
    np.testing.assert_allclose(qpos[at["heel"]], heel)
    np.testing.assert_allclose(qpos[at["toes"]], 0.1 + 0.05 * heel)
    assert np.abs(np.linalg.norm(qpos[3:7]) - 1) < 1e-12


@pytest.mark.parametrize("path", MODELS, ids=lambda path: f"{path.parts[-3]}/{path.stem}")
def test_robots_that_others_made_stand_as_in_mujoco(path, x64):
    if not path.exists():
        pytest.skip("example-robot-data is not installed")
    check_against_mujoco(*loaded(path), poses=2)


def loaded(path):
    """The robot, and MuJoCo's own model without meshes, which may not be there."""
    load = load_urdf if path.suffix == ".urdf" else load_mjcf
    text = re.sub(r"<(visual|collision)\b.*?</\1>", "", path.read_text("utf-8"), flags=re.DOTALL)
    text = re.sub(r"<inertial\b.*?</inertial>", "", text, flags=re.DOTALL)
    spec = mujoco.MjSpec.from_string(text)
    spec.compiler.fusestatic = False
    for body in spec.bodies[1:]:
        if path.suffix == ".urdf":
            body.explicitinertial, body.mass, body.inertia = True, 1, (1, 1, 1)
    with warnings.catch_warnings(action="ignore"):  # about masses
        return load(path), spec.compile()


def test_mimic_joints_of_urdf_follow():
    text = """<robot name="r"><link name="a"/><link name="b"/><link name="c"/>
      <joint name="lead" type="revolute"><parent link="a"/><child link="b"/><axis xyz="0 0 1"/>
        <limit lower="-1" upper="2" effort="1" velocity="1"/></joint>
      <joint name="follow" type="prismatic"><parent link="b"/><child link="c"/><axis xyz="1 0 0"/>
        <limit lower="0" upper="1" effort="1" velocity="1"/>
        <mimic joint="lead" multiplier="0.5" offset="0.25"/></joint></robot>"""
    robot = load_urdf(written(text, "r.urdf"))
    assert robot.skeleton.dof_names == ("lead",)
    np.testing.assert_allclose(robot.skeleton.limits, [[-1, 2]])
    tip = reference.positions(np.array([math.pi / 2]), robot.skeleton)[2]
    np.testing.assert_allclose(tip, [0, 0.25 + math.pi / 4, 0], atol=1e-12)


@pytest.mark.parametrize("leader", ['joint2="j"', ""])
def test_a_joint_that_is_tied_to_a_number_stays_where_it_is(leader, x64):
    path = written(f"""<mujoco><worldbody><body name="a"><joint name="j" range="0 9" ref="5"/>
      <geom size="1"/><body name="b" pos="0 0 1"><joint name="k" ref="7"/><geom size="1"/>
      </body></body></worldbody>
      <equality><joint joint1="k" {leader} polycoef="0.25 0 0 0 0"/></equality></mujoco>""")
    robot, model = load_mjcf(path), mujoco.MjModel.from_xml_path(str(path))
    check_against_mujoco(robot, model)
    assert robot.skeleton.dof_names == ("j",)
    qpos = params_to_qpos(np.array([0.1]), robot)
    np.testing.assert_allclose(qpos, [0.1, model.qpos0[1] + 0.25])


def test_who_leads_is_read_though_a_follower_comes_first():
    robot = load_mjcf(
        written("""<mujoco><worldbody><body name="base">
          <body name="a" pos="0 0 1"><joint name="follower" axis="1 0 0"/>
          <body name="b" pos="0 0 1"><joint name="leader" axis="1 0 0"/></body></body></body>
          </worldbody><equality><joint joint1="follower" joint2="leader" polycoef="0.1 2 0 0 0"/>
          </equality></mujoco>""")
    )
    qpos = params_to_qpos(np.float32([0.3]), robot)
    np.testing.assert_allclose(qpos, [0.7, 0.3], rtol=1e-6)
    np.testing.assert_allclose(qpos_to_params(qpos, robot), [0.3], rtol=1e-6)


def test_names_that_are_made_up_displace_none_of_the_file():
    path = written("""<mujoco><worldbody><body name="hand"><joint name="j" pos="0 0 1"/>
      <geom size="1"/><site name="hand"/><site name="hand_site" pos="2 0 0"/>
      <site name="hand_pivot" pos="3 0 0"/><site name="body_2" pos="4 0 0"/>
      <body pos="0 1 0"/></body></worldbody></mujoco>""")
    skeleton = load_mjcf(path).skeleton
    want = {"hand_site": [2, 0, 0], "hand_pivot": [3, 0, 0], "body_2": [4, 0, 0]}
    made_up = {"hand": [0, 0, 0], "body_2_2": [0, 1, 0], "hand_site_2": [0, 0, 0]}
    places = reference.positions(np.zeros(1), skeleton)
    found = dict(zip(skeleton.keypoint_names, places.tolist(), strict=True))
    assert found == want | made_up


@pytest.mark.parametrize("joints", [("hinge", "ball"), ("ball", "slide"), ("slide", "ball")])
def test_a_ball_has_a_joint_of_its_own(joints, x64):
    rows = "".join(
        f'<joint name="j{i}" type="{kind}" axis="0 1 0" pos="0 0 .2"/>'
        for i, kind in enumerate(joints)
    )
    path = written(f"""<mujoco><worldbody><body name="a"><body name="b" pos="0 0 1">{rows}
      <geom size=".1"/><body name="c" pos="1 0 0"/></body></body></worldbody></mujoco>""")
    check_against_mujoco(load_mjcf(path), mujoco.MjModel.from_xml_path(str(path)))


def urdf(kind="continuous", limit="", link="", root="a", more=""):
    """A file of two links and the joint j between them."""
    return written(
        f"""<robot name="r"><link name="{root}">{link}</link><link name="b"/>
      <joint name="j" type="{kind}"><parent link="{root}"/><child link="b"/><axis xyz="1 0 0"/>
        {limit}</joint>{more}</robot>""",
        "r.urdf",
    )


@pytest.mark.parametrize(
    ("ends", "low", "high"),
    [
        ('lower="0.5" upper="0.5"', "0.5", "0.5"),
        ('lower="1" upper="-1"', "1", "-1"),
        ('lower="0" upper="0"', "0", "0"),
        ("", "0", "0"),
        ('lower="2"', "2", "0"),
    ],
)
@pytest.mark.parametrize("kind", ["revolute", "prismatic"])
def test_limits_of_urdf_without_a_way_are_said(kind, ends, low, high):
    path = urdf(kind, f'<limit {ends} effort="1" velocity="1"/>')
    with pytest.warns(UserWarning, match=f"'j' has limits of {low} to {high}"):
        robot = load_urdf(path)
    assert np.isinf(robot.skeleton.limits).all()


@pytest.mark.parametrize(
    ("ends", "limits"), [('lower="-1.5"', [-1.5, 0]), ('upper="1.5"', [0, 1.5])]
)
@pytest.mark.parametrize("kind", ["revolute", "prismatic"])
def test_an_end_that_limits_of_urdf_do_not_say_is_0(kind, ends, limits):
    robot = load_urdf(urdf(kind, f'<limit {ends} effort="1" velocity="1"/>'))
    np.testing.assert_allclose(robot.skeleton.limits, [limits])


@pytest.mark.parametrize(
    "link",
    [
        '<collision><geometry><sphere radius="0"/></geometry></collision>',
        '<visual><geometry><mesh filename="package://none/a.dae"/></geometry></visual>',
        '<inertial><mass value="1"/></inertial>',
    ],
)
def test_what_moves_no_link_of_urdf_is_not_read(link):
    assert load_urdf(urdf(link=link)).skeleton.keypoint_names == ("a", "b")


def test_an_error_of_urdf_says_the_line_of_the_file():
    link = "<visual>\n\n</visual><!-- \n <visual> -->\n<inertial/>\n<collision\n></collision>"
    text = urdf(link=link).read_text().replace('xyz="1 0 0"', 'xyz="1 0 nothing"')
    line = text[: text.index("nothing")].count("\n") + 1
    with pytest.raises(ValueError, match=f"'axis', line {line}$"):
        load_urdf(written(text, "r.urdf"))


def test_namespaces_of_urdf_are_none():
    text = urdf().read_text().replace("<robot", '<robot xmlns="http://drake.mit.edu"')
    assert load_urdf(written(text, "r.urdf")).skeleton.dof_names == ("j",)
    assert load_urdf(urdf("revolute", '<limit upper="2"/>')).skeleton.limits.tolist() == [[0, 2]]
    without_rules = text.replace("</robot>", "<x:camera/></robot>")
    assert load_urdf(written(without_rules, "r.urdf")).skeleton.dof_names == ("j",)


def test_a_floating_urdf_moves_freely(x64):
    save_urdf("arm.urdf", reference.random_skeleton(np.random.default_rng(3), 3, 5))
    robot = load_urdf("arm.urdf", floating=True)
    spec = mujoco.MjSpec.from_file("arm.urdf")
    spec.compiler.fusestatic = False
    spec.worldbody.first_body().add_freejoint()
    check_against_mujoco(robot, spec.compile())
    assert robot.coordinates[0][:2] == ("root", "free")


def test_what_floats_is_one_tree_and_takes_no_name():
    second = '<link name="c"/><joint name="root" type="continuous"><parent link="{}"/>'
    second += '<child link="c"/></joint>'
    robot = load_urdf(urdf(more=second.format("b")), floating=True)
    assert [c.name for c in robot.coordinates] == ["root_2", "j", "root"]
    path = urdf("fixed", root="world", more=second.format("world"))
    with pytest.raises(ValueError, match=r"r\.urdf: one tree can float, .*'world' .*\['b', 'c'\]"):
        load_urdf(path, floating=True)
    assert load_urdf(path).skeleton.keypoint_names == ("b", "c")


@pytest.fixture(autouse=True)
def in_tmp_path(tmp_path, monkeypatch):
    """MuJoCo writes a log file into the working directory."""
    monkeypatch.chdir(tmp_path)


def written(text, name="model.xml"):
    pathlib.Path(name).write_text(text, "utf-8")
    return pathlib.Path(name)


REFUSED = [
    ('<equality><weld body1="a"/></equality>', "weld constraint 0 closes a loop"),
    ('<equality><connect name="pin" body1="a" anchor="0 0 0"/></equality>', "constraint 'pin'"),
    (
        '<equality><joint joint1="j"/><joint joint1="k"/></equality>',
        "'j' is not a multiple of another",
    ),
    (
        '<equality><joint joint1="j" joint2="k" polycoef="0 1 2"/></equality>',
        "'j' is not a multiple of another",
    ),
    (
        '<equality><joint joint1="j" joint2="k"/><joint joint1="k" joint2="j"/></equality>',
        "follows itself",
    ),
    (
        '<equality><joint joint1="j" joint2="k"/><joint joint1="j" joint2="k"/></equality>',
        "'j' follows two others",
    ),
    (
        '<tendon><fixed name="t"><joint joint="j" coef="1"/></fixed></tendon>'
        '<equality><tendon name="e" tendon1="t"/></equality>',
        "'e' ties tendons 't'",
    ),
    (
        '<worldbody><body name="m" mocap="true"><geom size="1"/></body></worldbody>',
        "body 'm' is moved by mocap",
    ),
    (
        '<worldbody><body><geom size="1"/><joint name="s" type="ball" range="0 1"/></body>'
        "</worldbody>",
        "ball joint 's' limits its whole turn",
    ),
]


@pytest.mark.parametrize(("extra", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_a_skeleton_cannot_say_is_refused_by_name(extra, message):
    path = written(
        '<mujoco><worldbody><body name="a"><geom size="1"/><joint name="j"/><body name="b">'
        f'<geom size="1"/><joint name="k"/></body></body></worldbody>{extra}</mujoco>'
    )
    with pytest.raises(ValueError, match=f"model.xml: expected what .*{message}"):
        load_mjcf(path)


def test_files_of_meshes_and_textures_need_not_be_there():
    mesh = '<asset><mesh name="m" file="m.stl"/><texture name="t" type="2d" file="t.png"/>'
    mesh += '<material name="p" texture="t"/><hfield name="h" file="h.png" size="1 1 1 1"/></asset>'
    body = '<body><joint name="j"/><geom type="mesh" mesh="m" material="p"/>'
    body += '<geom type="hfield" hfield="h"/><site name="s" material="p"/><light texture="t"/>'
    body += '</body><body name="n"><flexcomp name="f" type="grid" count="2 2 1" spacing="1 1 1" '
    body += 'radius=".01" dim="2" material="p" rigid="true"/></body>'
    path = written(f"<mujoco>{mesh}<worldbody>{body}</worldbody></mujoco>")
    assert load_mjcf(path).skeleton.keypoint_names == ("body_1", "n", "s")


def test_malformed_and_still_files_are_named():
    for text in ("", "<mujoco>", "no xml", "<mujoco><worldbody><body/></worldbody></mujoco>"):
        with pytest.raises(ValueError, match=r"model\.xml: "):
            load_mjcf(written(text))
    with pytest.raises(FileNotFoundError):
        load_urdf("nowhere.urdf")
    empty = written('<robot name="r"><link name="world"/></robot>', "r.urdf")
    for floating in (False, True):
        with pytest.raises(ValueError, match=r"r\.urdf: "):
            load_urdf(empty, floating=floating)


def test_broken_files_give_a_robot_or_the_one_error(capfd):
    del capfd  # which keeps MuJoCo's remarks
    rng, whole = random.Random(0), EVERYTHING.encode()
    numbers = [match.span() for match in re.finditer(rb"-?\d+\.?\d*", whole)]
    outcomes = set()
    for _ in range(300):
        text = bytearray(whole)
        start, end = rng.choice(numbers)
        odd = rng.choice([b"nan", b"inf", b"1e400", b"-1", b"0", b"99999999999", b"", b"x"])
        place = rng.randrange(len(text))
        way = rng.randrange(4)
        if way == 0:
            text[start:end] = odd
        elif way == 1:
            text[place] = rng.randrange(256)
        elif way == 2:
            del text[place : place + rng.randrange(100)]
        else:
            del text[place:]
        pathlib.Path("model.xml").write_bytes(text)
        with contextlib.suppress(ValueError):
            robot = load_mjcf("model.xml")
            assert np.isfinite(robot.skeleton.offsets).all()
            outcomes.add("robot")
            continue
        with pytest.raises(ValueError, match=r"model\.xml: "):
            load_mjcf("model.xml")
        outcomes.add("error")
    assert outcomes == {"error", "robot"}


def skeletons_to_write():
    rng = np.random.default_rng(1)
    yield "human", limit_skeleton(human_17(), HUMAN_LIMITS)
    yield "one-sided", limit_skeleton(human_17(), {"left_knee_flexion": (-math.inf, 2.0)})
    yield "toy", toy(10)
    for n in range(6):
        yield f"random {n}", reference.random_skeleton(rng, 3 - n % 2, 8)


@pytest.mark.parametrize(("name", "skeleton"), list(skeletons_to_write()))
def test_a_skeleton_comes_back_from_urdf(name, skeleton):
    save_urdf("robot.urdf", skeleton)
    again = load_urdf("robot.urdf").skeleton
    assert set(again.dof_names) == set(skeleton.dof_names)
    params = np.random.default_rng(0).normal(size=skeleton.num_dofs)
    order = [skeleton.dof_index(dof) for dof in again.dof_names]
    np.testing.assert_allclose(again.limits, np.asarray(skeleton.limits)[order])
    found = reference.frames(params[order], again)[:, :3, 3]
    found = found[[again.names.index(name) for name in skeleton.keypoint_names]]
    want = reference.positions(params, skeleton)
    size = np.abs(want).max()
    np.testing.assert_allclose(found[:, : skeleton.ndim], want, atol=1e-12 * size)


def test_lengths_are_scaled_into_urdf_and_limits_of_slides_too():
    skeleton = limit_skeleton(human_17(), {"pelvis_tx": (-500, 2000)})
    save_urdf("robot.urdf", skeleton, scale=0.001)
    again = load_urdf("robot.urdf").skeleton
    np.testing.assert_allclose(again.limits[again.dof_index("pelvis_tx")], [-0.5, 2])
    at_rest = reference.positions(np.zeros(27), skeleton)
    places = reference.frames(np.zeros(27), again)[:, :3, 3]
    head = places[again.names.index("head")]
    np.testing.assert_allclose(head, at_rest[skeleton.keypoint_names.index("head")] / 1000)


def test_mujoco_itself_reads_what_is_written():
    save_urdf("robot.urdf", human_17(), scale=0.001)
    model = mujoco.MjModel.from_xml_path("robot.urdf")
    assert model.njnt == 27
    assert {model.body(b).name for b in range(model.nbody)} > set(human_17().names)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scale": 0.0}, "scale must be positive"), ({"name": "a\nb"}, "cannot hold the name")],
)
def test_what_urdf_cannot_hold_is_refused_and_nothing_is_written(options, message):
    with pytest.raises(ValueError, match=message):
        save_urdf("robot.urdf", human_17(), **options)
    assert not list(pathlib.Path().iterdir())


def test_a_joint_called_world_is_the_world_or_refused():
    moved = Joint("world", "cart", (1.0, 2.0, 3.0))
    skeleton = build_skeleton([Joint("cart", None, (0, 0, 0), "tx"), moved])
    with pytest.raises(ValueError, match="of this name must be the root"):
        save_urdf("robot.urdf", skeleton)
    assert not list(pathlib.Path().iterdir())
    with pytest.raises(ValueError, match="rename it"):
        save_urdf("robot.urdf", build_skeleton([Joint("world", None, (0, 0, 0), "tx")]))
    ways = [Joint(x, "world", (1.0, 2.0, 3.0), f"t{x}") for x in "xy"]
    skeleton = build_skeleton([Joint("world", None, (0, 0, 0)), *ways], keypoints=["x", "y"])
    save_urdf("robot.urdf", skeleton)
    again = load_urdf("robot.urdf").skeleton
    places = reference.positions(np.ones(2), again)[-2:]
    np.testing.assert_allclose(places, [[2, 2, 3], [1, 3, 3]])


def test_shapes_of_coordinates_are_checked():
    robot = robot_of(mujoco.MjModel.from_xml_string(EVERYTHING))
    with pytest.raises(ValueError, match=r"qpos must have shape \(\.\.\., 26\), but got \(3,\)"):
        qpos_to_params(jnp.zeros(3), robot)
    with pytest.raises(ValueError, match=r"params must have shape"):
        params_to_qpos(jnp.zeros(3), robot)


def test_coordinates_have_derivatives_where_nothing_turns():
    robot = robot_of(mujoco.MjModel.from_xml_string(EVERYTHING))
    params = jnp.zeros(robot.skeleton.num_dofs)

    def around(move):
        return qpos_to_params(params_to_qpos(params + move, robot), robot)

    slope = jax.jit(jax.jacobian(around))(params)
    np.testing.assert_allclose(slope, np.eye(len(params)), atol=1e-4)
