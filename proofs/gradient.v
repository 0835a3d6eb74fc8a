(* Training the queries of a head: the gradient of the mean KL divergence, and how far a context can be from P where the
   gradient is small: section 1 of docs/theory.md. *)
From mathcomp Require Import all_ssreflect all_algebra ring.
From mathcomp Require Import boolp classical_sets functions reals topology normedtype derive realfun sequences exp.
From rankbound Require Import certified_gap.
From rankbound Require model stationary.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory Order.TTheory numFieldTopology.Exports numFieldNormedType.Exports.
Local Open Scope ring_scope.

Local Notation exp := sequences.expR.
Local Notation ln := (@exp.ln _).
Local Notation softmax L := (\matrix_(i, j) (exp (L i j) / \sum_l exp (L l j))).

Section Derivative.
Variable R : realType.

Lemma derive_line (a b x : R) : is_derive x 1 (fun t => a + t * b) b.
Proof.
have -> : (fun t => a + t * b) = cst a + b \*: (id : R -> R) by apply/funext => t; rewrite /= mulrC.
by apply: is_derive_eq; rewrite add0r [_ *: _]mulr1.
Qed.

Lemma derive_exp_line (a b x : R) : is_derive x 1 (fun t => exp (a + t * b)) (exp (a + x * b) * b).
Proof. exact: (@is_derive1_comp R exp (fun t => a + t * b) x _ _ (is_derive_expR _) (derive_line a b x)). Qed.

(* log Σ exp along a line *)
Lemma derive_log_sum_exp n (a b : 'I_n.+1 -> R) (x : R) :
  is_derive x 1 (fun t => ln (\sum_l exp (a l + t * b l)))
    (\sum_i exp (a i + x * b i) / (\sum_l exp (a l + x * b l)) * b i).
Proof.
have Z0 : 0 < \sum_l exp (a l + x * b l).
  by rewrite big_ord_recl ltr_paddr ?exp.expR_gt0 // sumr_ge0 // => l _; apply/ltW/exp.expR_gt0.
have dsum (u : unit) : is_derive x 1 (fun t => \sum_l exp (a l + t * b l)) (\sum_l exp (a l + x * b l) * b l).
  have -> : (fun t => \sum_l exp (a l + t * b l)) = \sum_l (fun t => exp (a l + t * b l)) by apply/funext => t; rewrite fct_sumE.
  by apply: is_derive_sum => l; apply: derive_exp_line.
have h := @is_derive1_comp R ln (fun t => \sum_l exp (a l + t * b l)) x _ _ (is_derive1_ln Z0) (dsum tt).
apply: is_derive_eq h _; rewrite mulr_sumr; apply: eq_bigr => i _; by rewrite mulrA [_^-1 * _]mulrC.
Qed.

(* the mean KL divergence of softmax (A^T B) from P, as a function of the queries B, has the gradient A (Q - P) / n:
   its derivative along B + t H is tr(H^T A (Q - P)) / n *)
Theorem derive_kl d n (A B H : 'M[R]_(d, n.+1)) (P : 'M[R]_n.+1) : (forall j, \sum_i P i j = 1) ->
  let Q C : 'M[R]_n.+1 := softmax ((A^T *m C)%R : 'M[R]_n.+1) in
  let kl C := n.+1%:R^-1 * \sum_j \sum_i P i j * (ln (P i j) - ln (Q C i j)) in
  is_derive (0 : R) 1 (fun t => kl (B + t *: H)) (\tr (H^T *m (n.+1%:R^-1 *: (A *m (Q B - P))))).
Proof.
move=> P1 Q kl.
pose L := (A^T *m B)%R; pose D := (A^T *m H)%R; pose Z j t := \sum_l exp (L l j + t * D l j).
pose g j t := \sum_i P i j * ln (P i j) + (ln (Z j t) - (\sum_i P i j * L i j + t * \sum_i P i j * D i j)).
have Z0 j t : 0 < Z j t.
  by rewrite /Z big_ord_recl ltr_paddr ?exp.expR_gt0 // sumr_ge0 // => l _; apply/ltW/exp.expR_gt0.
have ME t i j : (A^T *m (B + t *: H))%R i j = L i j + t * D i j by rewrite mulmxDr -scalemxAr !mxE.
have QE t i j : Q (B + t *: H) i j = exp (L i j + t * D i j) / Z j t.
  by rewrite mxE ME; congr (_ / _); apply: eq_bigr => l _; rewrite ME.
have klE : (fun t => kl (B + t *: H)) = n.+1%:R^-1 \*: (\sum_j g j).
  apply/funext => t; rewrite /kl /= fct_sumE; congr (_ * _); apply: eq_bigr => j _.
  rewrite /g mulr_sumr -big_split /= -[ln (Z j t)]mul1r -(P1 j) mulr_suml -sumrB -big_split /=.
  apply: eq_bigr => i _; rewrite QE exp.ln_div ?posrE ?exp.expR_gt0 // exp.expK.
  by move: (ln (P i j)) (P i j) (L i j) (D i j) (ln (Z j t)) => p' p l d' z; ring.
have dg j : is_derive (0 : R) 1 (g j) (\sum_i (Q B i j - P i j) * D i j).
  have dZ (u : unit) := derive_log_sum_exp (fun l => L l j) (fun l => D l j) 0.
  have dL (u : unit) := derive_line (\sum_i P i j * L i j) (\sum_i P i j * D i j) 0.
  have h := is_deriveD (is_derive_cst (\sum_i P i j * ln (P i j)) (0 : R) 1) (is_deriveB (dZ tt) (dL tt)).
  apply: is_derive_eq h _; rewrite add0r -sumrB; apply: eq_bigr => i _; rewrite -mulrBl; congr ((_ - _) * _).
  have := QE 0 i j; rewrite scale0r addr0 => ->; rewrite /Z.
  by [].
rewrite klE; apply: is_derive_eq (is_deriveZ _ (is_derive_sum dg)) _.
rewrite -scalemxAr linearZ /= mulmxA; congr (_ * _).
have -> : (H^T *m A = D^T)%R by rewrite /D trmx_mul trmxK.
rewrite /mxtrace; apply: eq_bigr => j _; rewrite mxE; apply: eq_bigr => i _.
have E (S T : 'M[R]_n.+1) : (S - T)%R i j = S i j - T i j by rewrite !mxE.
have F (S : 'M[R]_n.+1) : S^T j i = S i j by rewrite mxE.
by rewrite E F mulrC.
Qed.
End Derivative.

(* Z A is I on columns that sum to 0, but for eps, and Z has rows of length z at most: |G| <= z |A G| / (1 - eps) *)
Theorem near_stationary (R : realFieldType) k n (A : 'M[R]_(k, n)) (G : 'M_n) (Z : 'M_(n, k)) (y : 'cV_n) (z eps delta : R) :
  (forall j, \sum_i G i j = 0) -> 0 <= z -> 0 <= delta ->
  (forall i, \sum_l Z i l ^+ 2 <= z ^+ 2) -> (forall j, \sum_l (A *m G) l j ^+ 2 <= delta ^+ 2) ->
  (forall i, \sum_l `|(1%:M - Z *m A) i l - y i 0| <= eps) -> eps < 1 ->
  forall i j, `|G i j| <= z * delta / (1 - eps).
Proof.
move=> G0 z0 delta0 Zz AG res eps1 i j.
have [i' _ max_] := @arg_maxP _ R _ i predT (fun l => `|G l j|) isT.
have most l : `|G l j| <= `|G i' j| := max_ l isT.
apply: le_trans (most i) _; rewrite ler_pdivl_mulr ?subr_gt0 // mulrBr mulr1 ler_subl_addr.
have split_ : G i' j = \sum_l Z i' l * (A *m G) l j + \sum_l ((1%:M - Z *m A) i' l - y i' 0) * G l j.
  have -> : \sum_l ((1%:M - Z *m A) i' l - y i' 0) * G l j = ((1%:M - Z *m A) *m G) i' j.
    by rewrite mxE; under eq_bigr do rewrite mulrBl; rewrite sumrB -mulr_sumr G0 mulr0 subr0.
  have -> : \sum_l Z i' l * (A *m G) l j = (Z *m (A *m G)) i' j by rewrite [RHS]mxE.
  have D (S T : 'M[R]_n) : S i' j + T i' j = (S + T)%R i' j by rewrite mxE.
  by rewrite D mulmxBl mul1mx mulmxA addrC subrK.
rewrite {1}split_; apply: le_trans (ler_norm_add _ _) _; apply: ler_add.
  rewrite -ler_sqr ?nnegrE ?normr_ge0 ?mulr_ge0 // real_normK ?num_real //.
  have := @cauchy_schwarz R _ (fun=> 1) (fun l => Z i' l) (fun l => (A *m G) l j) (fun=> ler01).
  under eq_bigr do rewrite mul1r; under [X in _ <= X * _ -> _]eq_bigr do rewrite mul1r.
  under [X in _ <= _ * X -> _]eq_bigr do rewrite mul1r.
  move=> cs; apply: le_trans cs _; rewrite exprMn ler_pmul // sumr_ge0 // => l _; exact: sqr_ge0.
apply: le_trans (ler_norm_sum _ _ _) _; apply: le_trans (_ : \sum_l `|(1%:M - Z *m A) i' l - y i' 0| * `|G i' j| <= _).
  by apply: ler_sum => l _; rewrite normrM ler_wpmul2l.
by rewrite -mulr_suml mulrC ler_wpmul2l.
Qed.

(* Training the queries B of a head with the keys A, on n + 1 tokens. Q(C) = softmax (A^T C), and kl(C) is the mean KL
   divergence of Q(C) from P. Its derivative along B + t H, at t = 0, is tr(H^T G), where the gradient is
   G = A (Q - P) / (n + 1). If all of these derivatives are 0, A of n rows has rank n, A v = 0 and 1^T v <> 0,
   then Q = P. And if the rows of I - Z A - y 1^T have a 1-norm of at most eps < 1, those of Z a 2-norm of at most z, and
   the columns of A (Q - P) one of at most delta, then |Q - P| <= z delta / (1 - eps) in every entry. *)
Theorem trained_head (R : realType) n (A B : 'M[R]_(n, n.+1)) (P : 'M[R]_n.+1) : (forall j, \sum_i P i j = 1) ->
  let Q C : 'M[R]_n.+1 := softmax ((A^T *m C)%R : 'M[R]_n.+1) in
  let kl C := n.+1%:R^-1 * \sum_j \sum_i P i j * (ln (P i j) - ln (Q C i j)) in
  let derivative H := is_derive (0 : R) 1 (fun t => kl (B + t *: H)) in
  [/\ forall H, derivative H (\tr (H^T *m (n.+1%:R^-1 *: (A *m (Q B - P))))),
      forall v : 'cV_n.+1, \rank A = n -> A *m v = 0 -> \sum_i v i 0 != 0 -> (forall H, derivative H 0) -> Q B = P &
      forall (Z : 'M_(n.+1, n)) (y : 'cV_n.+1) (z eps delta : R), 0 <= z -> 0 <= delta ->
        (forall i, \sum_l Z i l ^+ 2 <= z ^+ 2) -> (forall j, \sum_l (A *m (Q B - P)) l j ^+ 2 <= delta ^+ 2) ->
        (forall i, \sum_l `|(1%:M - Z *m A) i l - y i 0| <= eps) -> eps < 1 ->
        forall i j, `|Q B i j - P i j| <= z * delta / (1 - eps)].
Proof.
move=> P1 Q kl derivative.
have Z0 j : 0 < \sum_l exp ((A^T *m B)%R l j) by rewrite big_ord_recl ltr_paddr ?exp.expR_gt0 // sumr_ge0 // => l _; apply/ltW/exp.expR_gt0.
have G1 j : \sum_i (Q B - P)%R i j = 0.
  have Q1 : \sum_i Q B i j = 1 by under eq_bigr do rewrite mxE; rewrite -mulr_suml divff // lt0r_neq0.
  have D i : (Q B - P)%R i j = Q B i j - P i j by rewrite [LHS]mxE [X in _ + X]mxE.
  by under eq_bigr do rewrite D; rewrite sumrB Q1 P1 subrr.
have grad H : derivative H (\tr (H^T *m (n.+1%:R^-1 *: (A *m (Q B - P))))) by apply: derive_kl.
split=> // [v rA Av v1 flat | Z y z eps delta z0 delta0 Zz AG res eps1 i j].
  suff AG : A *m (Q B - P) = 0.
    apply/eqP; rewrite -subr_eq0; apply/eqP; apply: (stationary.stationary rA Av _ _ AG).
      apply: contraNneq v1 => /matrixP/(_ 0 0); rewrite !mxE => e; apply/eqP; rewrite -[RHS]e.
      by apply: eq_bigr => i _; rewrite !mxE mul1r.
    apply/matrixP => i j; rewrite mxE [RHS]mxE -[RHS](G1 j); apply: eq_bigr => l _.
    by rewrite mxE mxE mul1r.
  apply/matrixP => a b; pose G := n.+1%:R^-1 *: (A *m (Q B - P)).
  have : \tr ((delta_mx a b : 'M[R]_(n, n.+1))^T *m G) = 0.
    by rewrite -(@derive_val _ _ _ _ _ _ _ (grad (delta_mx a b))) (@derive_val _ _ _ _ _ _ _ (flat (delta_mx a b))).
  have -> : \tr ((delta_mx a b)^T *m G) = G a b.
    rewrite /mxtrace (bigD1 b) //= big1 => [|i ib].
      rewrite addr0 mxE (bigD1 a) //= big1 => [|l la]; first by rewrite !mxE !eqxx mul1r addr0.
      by rewrite !mxE (negPf la) mul0r.
    by rewrite mxE big1 // => l _; rewrite !mxE (negPf ib) andbF mul0r.
  by rewrite /G [LHS]mxE => /eqP; rewrite mulf_eq0 invr_eq0 pnatr_eq0 /= => /eqP ->; rewrite mxE.
by have := near_stationary G1 z0 delta0 Zz AG res eps1 i j; rewrite [(Q B - P)%R i j]mxE [(- P)%R i j]mxE.
Qed.
